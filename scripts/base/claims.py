"""Claims about trial reports: what a report shows, what it does not show, and what is about another report.

They are made of labelled questions (evidence_inference), of an abstract's aim and conclusion, and of single sentences
that say whether something was significant, as they stand or turned into their opposite. A claim about another report is
asked of the most similar text of another article.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from base.item import Item
from clsgen.data.sentences import sentence_spans
from clsgen.types import TaskSpec

CLAIMS = tuple(
    TaskSpec(name="claim", labels=labels, instruction=instruction)
    for labels, instruction in (
        (
            ("supported", "refuted", "not addressed"),
            "Decide whether this text supports the statement below, refutes it, or does not address it "
            "(supported, refuted or not addressed).",
        ),
        (
            ("TRUE", "FALSE", "NONE"),
            "According to the text above, is the following claim true? Answer TRUE, FALSE, or NONE if the text is "
            "about something else.",
        ),
        (
            ("confirmed", "not confirmed", "unrelated"),
            "Check the claim against the report: confirmed, not confirmed, or unrelated.",
        ),
    )
)

AMONG_WORDS = (300, 1000)
"""Words of a document of several passages, at least."""
PASSAGE_WORDS = (40, 300)
"""Words of a passage whose sentences are asked about."""
SAME_ARTICLE = 50
"""Passages of the corpus that stand no further from each other than this may be of one article."""

_CLAIM_WORDS = (
    "{intervention} is superior or other to {comparator} in terms of {outcome}",
    "{intervention} differs significantly from {comparator} in {outcome}",
    "{intervention} has an effect on {outcome} compared with {comparator}.",
    "There is a difference between {intervention} and {comparator} with respect to {outcome}.",
)
_BETTER_WORDS = (
    "{intervention} is superior to {comparator} in terms of {outcome}",
    "{intervention} is superior or other to {comparator} in terms of {outcome}",
    "{intervention} is better than {comparator} for {outcome}.",
    "{intervention} has a benefit for {outcome} compared with {comparator}.",
)
_UNRELATED_WORDS = (
    "The text does not report {outcome} for {intervention}.",
    "Nothing in this text compares {intervention} with {comparator}.",
    "The text is about another question and says nothing of {intervention} and its effect on {outcome}.",
)
_ANOTHER = ("The text reports another study.",)

_KIND = r"(?:effects?|efficacy|effectiveness|impact|influence|benefits?|superiority)(?:,? (?:and|or) [\w-]+)?"
_END = (
    r"(?= (?:among|between|during|after|following|at|when|using|through|by|within|before|undergoing|who|with)\b"
    r"|[.:;,?(]|$)"
)
_X, _Y, _Z = r"(?P<intervention>[^.:;?]{4,90}?)", r"(?P<comparator>[^.:;?]{4,70}?)", r"(?P<outcome>[^.:;?]{4,90}?)"
_HELPS = r"(?:improv|reduc|increas|prevent|decreas|enhanc|lower|attenuat|facilitat|promot|alleviat)\w*"
_VERSUS = r"(?:versus|vs\.?|compared (?:with|to))"
_AIMS = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        rf"\b{_KIND} of {_X} {_VERSUS} {_Y} (?:on|in|for) {_Z}{_END}",
        rf"\b{_KIND} of {_X} (?:on|in|for) {_Z}{_END}",
        rf"\bcompar\w+ (?:of )?(?:the )?(?:{_KIND} of )?{_X} (?:versus|with|and|to) {_Y} (?:on|in|for) {_Z}{_END}",
        rf"\b(?:whether|if) {_X} (?:(?:would|could|can|may|will) )?{_HELPS} {_Z}{_END}",
    )
)
_TITLES = (
    *_AIMS,
    re.compile(rf"^{_X} {_VERSUS} {_Y} (?:on|in|for) {_Z}{_END}", re.I),
    re.compile(rf"^{_X} {_HELPS} {_Z}{_END}", re.I),
)
_BROKEN = re.compile(
    r"\b(?:we|was|were|is|are|that|whether|aim\w*|stud(?:y|ies)|trials?|this|randomi[sz]ed)\b"
    r"|^(?:to|of|and|by|do|does|can)\b|\b(?:to|for|the|of|and)$",
    re.I,
)
_TRIAL = re.compile(r"randomi[sz]|placebo|controlled trial|double[- ]blind|crossover", re.I)
_AIM_CUE = re.compile(r"\b(?:aim|objective|purpose|whether|hypothes|compare|determine|investigat|evaluat|assess)", re.I)
_CONCLUSION = re.compile(r"\bCONCLUSIONS?(?:\s*(?:AND|/)\s*\w+)?\s*[:.]+\s*(.{40,})", re.S)
_NOTHING = re.compile(
    r"\b(?:no (?:\w+ ){0,3}(?:difference|effect|benefit|improvement|advantage|evidence|impact|change|reduction"
    r"|increase|influence|superior|better|more|greater)\w*|(?:did|does|do|was|were|is|are) not\b|fail(?:ed|s)? to"
    r"|similar(?:ly)?|equally|equal|comparable|neither|non-?inferior\w*|equivalent|lack of|ineffective|cannot)\b",
    re.I,
)
_SOMETHING = re.compile(
    r"\b(?:significant(?:ly)? (?:\w+ ){0,2}(?:improv|reduc|increas|decreas|high|low|bett|great|less|more|fewer)\w*"
    r"|superior|(?:more|most|is|was|are|were|an|highly) (?:\w+ )?(?:effective|efficacious|beneficial)|improve[sd]?"
    r"|improvement|reduce[sd]?|reduction|increase[sd]?|decrease[sd]?|better|enhance[sd]?|prevent(?:s|ed)"
    r"|benefit(?:s|ed)?|lower(?:s|ed)?|higher|accelerate[sd]?|attenuate[sd]?|alleviate[sd]?)\b",
    re.I,
)

_STILL_OPEN = re.compile(r"\b(?:will|if|whether|needed|further|future)\b", re.I)
_DENIED_WITHIN = 40
"""Characters after "did not" and the like in which "reduce" and the like is what is denied."""

_COUNTED = r"(difference|effect|change|association|correlation|improvement|interaction|reduction|increase|decrease)"
_VERB = r"(improve|reduce|increase|decrease|change)"
_OPPOSITES = tuple(
    (re.compile(pattern, re.I), words)
    for pattern, words in (
        (rf"\bno (?:statistically )?significant {_COUNTED}\b", r"a significant \1"),
        (rf"\bno (?:statistically )?significant {_COUNTED}s\b", r"significant \1s"),
        (rf"\ba (?:statistically )?significant {_COUNTED}\b", r"no significant \1"),
        (rf"\b(were|are) (?:statistically )?significant {_COUNTED}s\b", r"\1 no significant \2s"),
        (r"\b(was|were|is|are) not (?:statistically )?significant", r"\1 significant"),
        (r"\b(was|were|is|are) (?:statistically |also )?significant", r"\1 not significant"),
        (r"\bdid not (?:significantly )?differ(?: significantly)?", "differed significantly"),
        (r"\bdiffered significantly|\bsignificantly differed", "did not differ significantly"),
        (rf"\bdid not significantly {_VERB}\b", r"significantly \1d"),
        (rf"(?<!\ba )(?<!\bthe )(?<!\bwith )\bsignificantly {_VERB}d\b", r"did not significantly \1"),
    )
)
_DOUBTFUL = re.compile(
    r"\b(?:not?|nor|none|neither|without|lack|although|whereas|but|however|significan\w*|would|should|could|may|might"
    r"|if|to (?:find|detect)|power)\b",
    re.I,
)
_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]")


class Aim(NamedTuple):
    """What a trial set out to show, in the words of a claim, and what its conclusion says of it."""

    words: Mapping[str, str]
    is_shown: bool
    conclusion: str


def of_corpus(documents: Mapping[str, Sequence[str]]) -> dict[str, list[Item]]:
    """Claims made of the corpus, by source.

    Args:
        documents: Source -> documents, cleared of everything held out.
    """
    abstracts = documents["rct_abstracts"]
    found = {
        "claims_conclusions": of_conclusions(abstracts),
        "claims_aims": of_aims([*abstracts, *documents["medical_abstracts"]]),
        "claims_sentences": of_sentences([*abstracts, *documents["rct_fulltext_ccby"]]),
    }
    return {source: [item.cleaned() for item in rows] for source, rows in found.items()}


def of_questions(rows: Sequence[dict[str, Any]], source: str) -> Iterator[Item]:
    """Claims of evidence_inference's questions, each also against another article's text.

    Args:
        rows: Its labelled rows.
        source: The field that is read.
    """
    rows = [row for row in rows if row[source] and (source != "abstract" or row["rationale_in_abstract"])]
    nearest = _nearest([row[source] for row in rows], keys=[row["pmcid"] for row in rows])
    for index, row in enumerate(rows):
        words = {name: row[name] for name in ("intervention", "comparator", "outcome")}
        item = Item(
            spec=CLAIMS[index % len(CLAIMS)],
            document=row[source],
            question=_CLAIM_WORDS[index % len(_CLAIM_WORDS)].format(**words),
            label="",
            reasons=rationales(row, source),
            group=f"pmc:{row['pmcid']}",
        )
        yield _judged(item, is_shown=row["label"] != "no significant difference")
        yield _elsewhere(item, rows[nearest[index]][source], tuple(text.format(**words) for text in _UNRELATED_WORDS))


def rationales(row: dict[str, Any], source: str) -> tuple[str, ...]:
    """The doctors' marks that stand in the text that is read, of a readable length."""
    return tuple(mark for mark in row["rationales"] if mark in row[source] and 6 <= len(mark.split()) <= 70)


def among_others(claims: Sequence[Item]) -> Iterator[Item]:
    """Claims whose passage stands among those of other articles: what decides is far from where it is decided."""
    generator = np.random.default_rng(0)
    for item in claims:
        parts, num_words = [item.document], int(generator.integers(*AMONG_WORDS))
        while sum(len(part.split()) for part in parts) < num_words:
            other = claims[int(generator.integers(len(claims)))]
            if other.group != item.group:
                parts.insert(int(generator.integers(len(parts) + 1)), other.document)
        yield replace(item, document="\n\n".join(parts))


def of_conclusions(abstracts: Sequence[str]) -> Iterator[Item]:
    """The first sentence of a conclusion against the abstract without it.

    Args:
        abstracts: Documents of the corpus, cleared of everything held out.
    """
    parts = [
        match
        for text in abstracts
        if (match := re.match(r"(.{400,}?)\bCONCLUSIONS?\s*[:.]\s*(.{40,})", text, re.S | re.I))
    ]
    documents = [part[1].strip() for part in parts]
    nearest = _nearest(documents)
    for index, (document, part) in enumerate(zip(documents, parts, strict=True)):
        claim = _sentences(part[2])[0]
        spec = CLAIMS[index % len(CLAIMS)]
        item = Item(spec, document, claim, "", _closest(document, claim), f"conclusion:{index}")
        yield _judged(item, is_shown=True)
        yield _elsewhere(item, documents[nearest[index]], _ANOTHER)


def of_aims(abstracts: Sequence[str]) -> Iterator[Item]:
    """What a trial's title or aim says was tried, claimed to be better, against the whole abstract.

    Whether it was comes from the words of its conclusion, by rule: some labels are wrong.

    Args:
        abstracts: Documents of the corpus, cleared of everything held out.
    """
    found = [(text, aim) for text in abstracts if (aim := aim_of(text)) is not None]
    nearest = _nearest([text for text, _ in found])
    for index, (text, aim) in enumerate(found):
        item = Item(
            spec=CLAIMS[index % len(CLAIMS)],
            document=text,
            question=_BETTER_WORDS[index % len(_BETTER_WORDS)].format(**aim.words),
            label="",
            reasons=(aim.conclusion,),
            group=f"aim:{index}",
        )
        yield _judged(item, is_shown=aim.is_shown)
        unrelated = tuple(words.format(**aim.words) for words in _UNRELATED_WORDS)
        yield _elsewhere(item, found[nearest[index]][0], unrelated)


def aim_of(abstract: str) -> Aim | None:
    """A trial's aim and result; None where the abstract is of no trial or its words tell too little."""
    if not _TRIAL.search(abstract) or re.search("protocol", abstract[:300], re.I):
        return None
    title = match[1] if (match := re.match(r"(.{15,250}?)[.?]+\s+(?=[A-Z])", abstract)) else ""
    sentences = _sentences(abstract[len(title) :])
    shown = _result(_conclusion(abstract, sentences))
    tried = [(title, _TITLES), *((text, _AIMS) for text in sentences[:8] if _AIM_CUE.search(text))]
    words = next((words for text, patterns in tried if (words := _tried(text, patterns)) is not None), None)
    return None if words is None or shown is None else Aim(words, *shown)


def _conclusion(abstract: str, sentences: Sequence[str]) -> Sequence[str]:
    """The first two sentences of a conclusion: under its heading, or the last ones."""
    match = _CONCLUSION.search(abstract)
    return _sentences(match[1])[:2] if match else sentences[3:][-2:]


def _result(conclusion: Sequence[str]) -> tuple[bool, str] | None:
    """Whether something was shown, and the sentence that says so; None where that is not clear."""
    for sentence in conclusion:
        if _STILL_OPEN.search(sentence):
            return None
        nothing, something = _NOTHING.search(sentence), _SOMETHING.search(sentence)
        if nothing and (something is None or 0 < something.start() - nothing.start() < _DENIED_WITHIN):
            return False, sentence
        if nothing or something:
            return None if nothing else (True, sentence)
    return None


def _tried(text: str, patterns: Sequence[re.Pattern[str]]) -> Mapping[str, str] | None:
    """Intervention, comparator and outcome that a sentence names."""
    for pattern in patterns:
        if match := pattern.search(text):
            words = {name: words or "control" for name, words in {"comparator": None, **match.groupdict()}.items()}
            if not any(len(part.split()) > 14 or _BROKEN.search(part) for part in words.values()):
                return words
    return None


def of_sentences(documents: Sequence[str]) -> Iterator[Item]:
    """Sentences that say whether something was significant: true as they stand, false as their opposite.

    Both kinds of sentence are asked both ways, so a claim alone tells nothing of its label.

    Args:
        documents: Passages and abstracts of the corpus, cleared of everything held out.
    """
    documents = [text for text in documents if PASSAGE_WORDS[0] <= len(text.split()) <= PASSAGE_WORDS[1]]
    found = [
        (number, sentence, other)
        for number, text in enumerate(documents)
        for sentence in (_BRACKETS.sub("", part) for part in _sentences(text))
        if (other := opposite_of(sentence)) is not None
    ]
    numbers = [number for number, _, _ in found]
    nearest = _nearest([documents[number] for number in numbers], keys=numbers, apart=SAME_ARTICLE)
    for index, (number, sentence, other) in enumerate(found):
        item = Item(CLAIMS[index % len(CLAIMS)], documents[number], sentence, "", (sentence,), f"passage:{number}")
        yield _judged(item, is_shown=True)
        yield _judged(replace(item, question=other), is_shown=False)
        claim = (sentence, other)[index % 2]
        yield _elsewhere(replace(item, question=claim), documents[numbers[nearest[index]]], _ANOTHER)


def opposite_of(sentence: str) -> str | None:
    """A sentence of 8 to 35 words denied; None where it says nothing of significance, or more than one thing."""
    if not 8 <= len(sentence.split()) <= 35:
        return None
    for pattern, words in _OPPOSITES:
        if match := pattern.search(sentence):
            rest = sentence[: match.start()] + sentence[match.end() :]
            made = sentence[: match.start()] + match.expand(words) + sentence[match.end() :]
            return None if _DOUBTFUL.search(rest) else made[0].upper() + made[1:]
    return None


def _judged(item: Item, *, is_shown: bool) -> Item:
    return replace(item, label=item.spec.labels[0 if is_shown else 1])


def _elsewhere(item: Item, document: str, reasons: tuple[str, ...]) -> Item:
    return replace(item, document=document, label=item.spec.labels[2], reasons=reasons)


def _sentences(text: str) -> list[str]:
    return [text[slice(*span)] for span in sentence_spans(text)]


def _nearest(documents: Sequence[str], keys: Sequence[Any] | None = None, *, apart: int = 0) -> list[int]:
    """For each document the most similar one of another key; numbers as keys differ by more than `apart`.

    Raises:
        ValueError: A document has none.
    """
    matrix = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2).fit_transform(documents)
    names = np.asarray(keys if keys is not None else range(len(documents)))
    nearest: list[int] = []
    for start in range(0, len(documents), 1024):
        likeness = np.asarray((matrix[start : start + 1024] @ matrix.T).todense())
        own = names[start : start + 1024, None]
        is_same = np.abs(own - names) <= apart if apart else own == names
        if is_same.all(axis=1).any():
            raise ValueError("claims: every document must have one of another article; the corpus has too few.")
        likeness[is_same] = -1
        nearest += likeness.argmax(1).tolist()
    return nearest


def _closest(document: str, claim: str) -> tuple[str, ...]:
    """The sentence of the document that shares most words with the claim."""
    wanted = set(re.findall(r"\w{4,}", claim.lower()))
    sentences = [text for text in _sentences(document) if 8 <= len(text.split()) <= 60]
    if not sentences:
        return ()
    return (max(sentences, key=lambda text: len(wanted & set(re.findall(r"\w{4,}", text.lower())))),)
