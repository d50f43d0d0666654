"""What can be counted in a written explanation alone: its words, its readability, its quotes.

Nothing here knows the class head; agreement with the head stands in alignment.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clsgen.types import Example

MIN_WORDS = 8
"""A readable explanation has at least this many words."""
MAX_REPEATS = 3
"""A readable explanation holds no run of `NGRAM_WORDS` words more often than this."""
NGRAM_WORDS = 4
MIN_KNOWN_SHARE = 0.95
"""Share of a readable explanation's words that are known: of the training rows, or of the row's own document."""
MIN_QUOTE_WORDS = 4
"""A quote shorter than this is a term in quotation marks, and found by chance."""

_NO_BLANKS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Letters of scripts that put no blank between words (Han, kana, Thai, Lao, Burmese, Khmer): each counts as a word."""
_LETTER = rf"[^\W_{_NO_BLANKS}]"
_WORD = re.compile(rf"[{_NO_BLANKS}]|{_LETTER}+(?:['-]{_LETTER}+)*")
_QUOTE = re.compile(
    r"""(?<!\w)"([^"]+)"|“([^“”]+)”|„([^„“”]+)[“”]|«([^«»]+)»|`([^`]+)`|(?<!\w)‘(.+?)’(?!\w)|(?<!\w)'([^'].*?)'(?!\w)""",
    re.DOTALL,
)
_ELLIPSIS = re.compile(r"\[?(?:\.\.\.|…)\]?")
_SAME = ("[’‘“”„«»`\"']", "[-–—]")
"""Marks that stand for each other: quotation marks and apostrophes, dashes."""
_ENDS = " .,;:!?"


class Grounding(NamedTuple):
    """Quotes of one explanation: how many there are, and how many of them the document holds."""

    num_quotes: int
    num_found: int


class Repetition(NamedTuple):
    """Runs of four words in one explanation: how many there are, and how many of them came before."""

    num_ngrams: int
    num_repeated: int


def words(text: str) -> list[str]:
    """Gives the words of a text in lower case: runs of letters and digits, joined by inner apostrophes or hyphens.

    >>> words("The patient’s follow-up: 2.5 mg/day, 'stable'.")
    ['the', "patient's", 'follow-up', '2', '5', 'mg', 'day', 'stable']
    """
    return _WORD.findall(text.replace("’", "'").lower())


def vocabulary_of(documents: Iterable[str]) -> frozenset[str]:
    """Gives the distinct words of the (training) documents.

    >>> sorted(vocabulary_of(["A cough.", "a fever"]))
    ['a', 'cough', 'fever']
    """
    return frozenset(word for document in documents for word in words(document))


def vocabulary_of_rows(rows: Iterable[Example]) -> frozenset[str]:
    """Words that count as known where these are the train rows: of documents, questions and explanations."""
    return vocabulary_of(text for row in rows for text in (row.document, row.question, row.explanation or ""))


def known_share(text: str, vocabulary: frozenset[str], own: frozenset[str] = frozenset()) -> float:
    """Share of a text's words that stand in the vocabulary or in `own`; numbers count as known. NaN without words.

    Numbers are new in every document, so that a vocabulary says nothing about them.

    >>> known_share("fever of 39 degrees", frozenset({"fever", "of"}))
    0.75
    """
    found = words(text)
    if not found:
        return float("nan")
    known = [word in vocabulary or word in own or word.replace("-", "").isdigit() for word in found]
    return sum(known) / len(found)


def is_readable(text: str, *, has_ended: bool, vocabulary: frozenset[str], own: frozenset[str] = frozenset()) -> bool:
    """Tells whether an explanation ended by itself, is long enough, does not loop, and is made of known words.

    At least 8 words; no 4-gram more than 3 times; at least 95% of the words known (`known_share`): words of the
    training rows, or of the document that the explanation is of.

    >>> known = vocabulary_of(["the trial found that the drug lowered blood pressure"])
    >>> is_readable("The trial found that the drug lowered pressure.", has_ended=True, vocabulary=known)
    True
    >>> is_readable("The trial found that the drug lowered pressure.", has_ended=False, vocabulary=known)
    False
    """
    found = words(text)
    if not has_ended or len(found) < MIN_WORDS:
        return False
    most_frequent = max(Counter(ngrams(found, NGRAM_WORDS)).values())
    return most_frequent <= MAX_REPEATS and known_share(text, vocabulary, own) >= MIN_KNOWN_SHARE


def ngrams(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Gives every run of `size` words, in order, overlapping.

    >>> ngrams(["a", "b", "c"], 2)
    [('a', 'b'), ('b', 'c')]
    """
    return [tuple(found[i : i + size]) for i in range(len(found) - size + 1)]


def repetition(text: str) -> Repetition:
    """Counts the runs of four words, and those that repeat an earlier one.

    Runs: a b c d, b c d a, c d a b, d a b c, a b c d; the last one came before.

    >>> repetition("a b c d a b c d")
    Repetition(num_ngrams=5, num_repeated=1)
    """
    found = ngrams(words(text), NGRAM_WORDS)
    return Repetition(len(found), len(found) - len(set(found)))


def distinct_share(texts: Iterable[str], size: int) -> float:
    """Distinct n-grams over all n-grams of a set of texts (distinct-n of Li et al. 2016, arXiv 1510.03055).

    It falls with the number of texts: compare sets of equal size only. NaN without an n-gram.

    >>> distinct_share(["no pain", "no fever"], 1), distinct_share(["no pain", "no fever"], 2)
    (0.75, 1.0)
    """
    found = [ngram for text in texts for ngram in ngrams(words(text), size)]
    return len(set(found)) / len(found) if found else float("nan")


def is_boilerplate(texts: Sequence[str], documents: Sequence[str]) -> list[bool]:
    """Which texts were written, word for word, for another document too.

    Args:
        texts: Explanations, (N,). Letter case, white space and punctuation are put aside.
        documents: The document of each, (N,). Rows with equal documents may share a text.

    >>> is_boilerplate(["No pain.", "no pain", "Fever.", "Fever."], ["a", "b", "c", "c"])
    [True, True, False, False]
    """
    wordings = [tuple(words(text)) for text in texts]
    documents_of: dict[tuple[str, ...], set[str]] = {}
    for wording, document in zip(wordings, documents, strict=True):
        documents_of.setdefault(wording, set()).add(document)
    return [len(documents_of[wording]) > 1 for wording in wordings]


def quotes(text: str) -> list[str]:
    """Gives the passages between quotation marks of any kind that have four words or more.

    A quote that is not closed is none; neither are inches, or an apostrophe within a word.

    >>> quotes('It says "no benefit was seen" and calls this “striking”.')
    ['no benefit was seen']
    >>> quotes("The patient's notes say 'no benefit was seen' for the patient's pain.")
    ['no benefit was seen']
    """
    return [passage for _, passage in _quoted(text)]


def _quoted(text: str) -> list[tuple[tuple[int, int], str]]:
    """Each quote with where it stands, its marks included."""
    found = ((match.span(), next(group for group in match.groups() if group)) for match in _QUOTE.finditer(text))
    return [(span, passage) for span, passage in found if len(words(passage)) >= MIN_QUOTE_WORDS]


def without_true_quotes(text: str, document: str) -> str:
    """The text without the quotes that the document holds: what its writer says in words of their own.

    >>> without_true_quotes('She says "I was given aspirin", so yes.', "I was given aspirin.")
    'She says  , so yes.'
    """
    kept, at = [], 0
    for (start, end), passage in _quoted(text):
        if quote_spans(passage, document):
            kept.append(text[at:start])
            at = end
    return " ".join([*kept, text[at:]])


def quote_spans(quote: str, document: str) -> list[tuple[int, int]]:
    r"""Where a quote stands in the document, from and to; [] where it does not.

    Letter case, white space, the shape of quotation marks and dashes, and punctuation at a quote's ends are left
    aside. Of a quote with an ellipsis every part must stand there, as whole words and after the part before it.

    >>> quote_spans("was  SEEN.", "It was\nseen, once")
    [(3, 11)]
    >>> quote_spans("she … fell", "She slipped and fell."), quote_spans("fell … she", "She slipped and fell.")
    ([(0, 3), (16, 20)], [])
    """
    parts = [pattern for part in _ELLIPSIS.split(quote) if (pattern := _pattern(part))]
    if len(parts) == 1:
        return [match.span() for match in re.finditer(parts[0], document, re.IGNORECASE)]
    spans: list[tuple[int, int]] = []
    for part in parts:
        whole = re.compile(rf"(?<!{_LETTER}){part}(?!{_LETTER})", re.IGNORECASE)
        match = whole.search(document, spans[-1][1] if spans else 0)
        if match is None:
            return []
        spans.append(match.span())
    return spans


def grounding(text: str, document: str) -> Grounding:
    r"""Counts the quotes of an explanation and those found in the document.

    What counts as found is what `quote_spans` finds.

    >>> grounding('"No  benefit was seen" but "it was very safe"', "In all, no benefit was\nseen.")
    Grounding(num_quotes=2, num_found=1)
    """
    found = quotes(text)
    return Grounding(len(found), sum(bool(quote_spans(quote, document)) for quote in found))


def _pattern(part: str) -> str:
    """Regular expression of a passage; "" where there is nothing but punctuation."""
    return r"\s+".join("".join(map(_alternatives, word)) for word in part.strip().strip(_ENDS).split())


def _alternatives(character: str) -> str:
    return next((same for same in _SAME if character in same[1:-1]), re.escape(character))
