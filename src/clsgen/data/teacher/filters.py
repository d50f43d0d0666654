"""What makes an explanation unfit, each cause with a code of its own that is counted by class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from clsgen.data.explanations import MAX_REPEATS, NGRAM_WORDS, grounding, ngrams, without_true_quotes, words
from clsgen.data.teacher.answers import Answer
from clsgen.errors import ConfigError

Reason = Literal[
    "failed",
    "cut_off",
    "conclusion_missing",
    "label_disagreement",
    "leakage",
    "quote_not_found",
    "outcome_words",
    "degenerate",
    "too_long",
    "wrong_language",
    "duplicate",
    "other_side",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""In the order in which they are looked for; the first one found is counted.

failed: no answer. cut_off: it did not end by itself. conclusion_missing: no reason, or no known label.
label_disagreement: another label than the row's. leakage: it says that the label was told. quote_not_found: a quote
that the document does not hold. outcome_words: words from after the index time. degenerate: too short, or loops.
duplicate: another row's explanation, word for word. other_side: another label was argued better (both_sides).
"""

_TOLD = r"(?:given|provided|stated|assigned|correct|right|true|gold|known|reference|ground[- ]truth)"
_LABEL = r"(?:labels?|annotations?|ground[- ]truth|gold[- ]standard label)"
_SAYS = r"(?:says?|said|states?|stated|indicates?|indicated|suggests?|gives?|gave|confirms?)"
_LEAKS = (
    r"(?:as|per|since|given|by|from|with|on|to|knowing|because|that) (?:the|its|this|your|these) "
    rf"(?:{_TOLD} )?{_LABEL}",
    rf"(?:the|its|this) {_TOLD} (?:answer|label|outcome label)",
    r"(?:given|knowing)(?: that)? the (?:answer|label|outcome) (?:is|was|be)",
    r"(?:since|because|as) the (?:correct |right |true )?(?:answer|label) (?:is|was)",
    r"(?:answer|label)s?,? (?:(?:that|which) )?(?:(?:was|is|has been|were) )?(?:given|provided|told)",
    r"outcome (?:that|which) (?:was|is|has been) (?:given|provided|told)",
    r"(?:i|we) (?:was|were|am|are|have been) (?:told|given|informed) (?:that|the|about|of|to)",
    rf"the {_LABEL} (?:{_SAYS}|fits?)",
    r"the (?:labels?|ground[- ]truth(?: label)?) (?:is|was|are|were)",
    rf"the gold[- ]standard {_SAYS}",
    r"labell?ed (?:outcome|answer|class)",
    r"(?:this|the) (?:row|case|example|record|instance|item|sample|pair) (?:is|was|has been) (?:labell?ed|annotated)",
    rf"(?:you|the prompt|the task|the user|the instructions?|the hint) (?:told|tells?|{_SAYS})",
    r"as you (?:indicated|said|told|stated|mentioned|noted)|(?:per|as in|following) the (?:instructions?|prompt)",
    r"the hint (?:given|provided|that|is|was)|(?:as|by|from|per|with) the hint",
)
"""What gives away that the label was told; a label of a drug or trial ("open-label", "the drug's label") does not."""

_DECORATION = re.compile('[*_`"“”«»\u00ad\u200b-\u200f\u2060\ufeff]')
_SURE_OF_LANGUAGE = 0.8
"""Short texts are told apart by chance; below this confidence nothing is said of a language."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What an explanation must be.

    Attributes:
        min_words: Fewest words.
        max_words: Most words.
        leak_phrases: Phrases that give away that the label was told, beside the built-in ones.
        outcome_words: Words from after the index time.
        is_language_checked: Whether its language must be the document's.
    """

    min_words: int = 8
    max_words: int = 120
    leak_phrases: tuple[str, ...] = ()
    outcome_words: tuple[str, ...] = ()
    is_language_checked: bool = True

    def check_answer(self, answer: Answer, *, wanted: str, document: str) -> Reason | None:
        """Why a teacher's answer is dropped; None where it is kept.

        Args:
            answer: Reason and stated label.
            wanted: The label that it must state.
            document: What it is about.
        """
        if not answer.reason or answer.label is None:
            return "conclusion_missing"
        if answer.label != wanted:
            return "label_disagreement"
        return self.check_text(answer.reason, document)

    def check_text(self, reason: str, document: str) -> Reason | None:
        """Why an explanation is dropped, whoever wrote it; None where it is kept."""
        own = without_true_quotes(reason, document)
        plain = " ".join(_DECORATION.sub("", own).split()).casefold().replace("’", "'")
        if _leak_pattern(self.leak_phrases).search(plain):
            return "leakage"
        found = grounding(reason, document)
        if found.num_found < found.num_quotes:
            return "quote_not_found"
        if self._has_outcome(reason, document):
            return "outcome_words"
        text = words(reason)
        if len(text) < self.min_words or max(Counter(ngrams(text, NGRAM_WORDS)).values(), default=0) > MAX_REPEATS:
            return "degenerate"
        if len(text) > self.max_words:
            return "too_long"
        if self.is_language_checked and _is_other_language(reason, document):
            return "wrong_language"
        return None

    def _has_outcome(self, reason: str, document: str) -> bool:
        if not self.outcome_words:
            return False
        told, known = (f" {' '.join(words(text.replace('-', ' ')))} " for text in (reason, document))
        phrases = [" ".join(words(phrase.replace("-", " "))) for phrase in self.outcome_words]
        return any(
            any(f" {form} " in told for form in _forms(phrase)) and f" {phrase} " not in known for phrase in phrases
        )


def _forms(phrase: str) -> tuple[str, ...]:
    """A phrase and its plural."""
    return (phrase, f"{phrase}s", f"{phrase}es", f"{phrase[:-1]}ies" if phrase.endswith("y") else phrase)


@cache
def _leak_pattern(extra: tuple[str, ...]) -> re.Pattern[str]:
    phrases = [*_LEAKS, *(re.escape(" ".join(phrase.split()).casefold()) for phrase in extra)]
    return re.compile("|".join(rf"(?<![-\w])(?:{phrase})(?![-\w])" for phrase in phrases))


def _is_other_language(reason: str, document: str) -> bool:
    """Whether both languages are told with confidence, and differ."""
    (ours, sure), (theirs, also_sure) = (_language(text) for text in (reason, document))
    return min(sure, also_sure) >= _SURE_OF_LANGUAGE and ours != theirs


def _language(text: str) -> tuple[str, float]:
    language, confidence = _identifier().classify(text[:2000])
    return str(language), float(confidence)


@cache
def _identifier() -> Any:
    """The language identifier; half a second to load, and offline."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415  (the extra `teacher`)
    except ImportError as error:
        raise ConfigError(
            "teacher.filters.is_language_checked: the package py3langid must be installed; it is missing. "
            "Run: pip install 'clsgen[teacher]', or switch the check off."
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def normalised(reason: str) -> str:
    """What two explanations are compared by: their words.

    >>> normalised("No  pain, at all.") == normalised("no pain at all")
    True
    """
    return " ".join(words(reason))


def check_selection(names: Sequence[str]) -> None:
    """Refuse a choice among answers that is not known.

    Raises:
        ConfigError: A name that is none of grounding, agreement, length.
    """
    unknown = [name for name in names if name not in ("grounding", "agreement", "length")]
    if unknown:
        raise ConfigError(
            f"teacher.selection: names must be among grounding, agreement, length; got {unknown[0]!r}. Correct it."
        )
