"""Where sentences start and end: for quotes that are verbatim, and for cutting sentences out of a document.

Rules instead of a trained splitter: clinical text is full of decimals, `vs.`, `i.v.` and hard line breaks, and the
result must be the same on every machine and offline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LINE_BREAK = "<cr>"
"""How the LCD benchmark's preparation script writes a line break."""

_ABBREVIATION = re.compile(
    r"(?:vs|e\.g|i\.e|cf|viz|ca|approx|resp|std|figs?|tab|eq|refs?|nos?|vol|pp|dr|mrs?|ms|prof|st|wt|pts?|[hdtr]x)\.",
    re.IGNORECASE,
)
# After initials ("group B.", "vitamin D.", "U.S.") only a word that opens sentences starts one.
_OPENER = re.compile(
    r"(?:The|An?|In|It|We|There|Th[eo]se|This|No|Both|All|Of|At|For|From|On|To|After|Before|During|Patients|"
    r"S?[Hh]e|They|His|Her|However|Our|Results|Conclusions?|Methods)[,:]?"
)
_INITIALS = re.compile(r"(?:[A-Z]\.)+")
_TERMINATOR = re.compile(r"""(?<=\S)[.!?]+["'”’)\]]*(?=\s+(?P<after>["'“‘(\[]*[A-Z0-9]\S*))""")
_LINE = re.compile(rf"\s*(?:\n|{LINE_BREAK})(?:\s|{LINE_BREAK})*")
_CLAUSE_END = re.compile(r"[;,:](?=\s)")


class Span(NamedTuple):
    """A piece of a text: `text[start:end]`, without white space at either end."""

    start: int
    end: int


def sentence_spans(text: str) -> tuple[Span, ...]:
    """Sentences of a text, in order, not overlapping; together they cover all of it but white space and `<cr>`.

    A line break ends a sentence unless the next line goes on in lower case (a hard wrap).

    >>> [text[s:e] for text in ["Rose by 1.5 vs. 2 mg (p = .05). No harm."] for s, e in sentence_spans(text)]
    ['Rose by 1.5 vs. 2 mg (p = .05).', 'No harm.']
    """
    spans: list[Span] = []
    for line in _lines(text):
        start = line.start
        for match in _TERMINATOR.finditer(text, line.start, line.end):
            if _ends_sentence(text, match):
                spans.append(_strip(text, start, match.end()))
                start = match.end()
        spans.append(_strip(text, start, line.end))
    return tuple(span for span in spans if span.start < span.end)


def split_sentences(text: str) -> tuple[str, ...]:
    """The sentences themselves, verbatim; see `sentence_spans`."""
    return tuple(text[start:end] for start, end in sentence_spans(text))


def clip_span(text: str, span: Span, max_words: int) -> tuple[Span, ...]:
    """The span cut into pieces of at most `max_words` words, at clause ends outside parentheses where there are any.

    >>> text = "one two, three four, five"
    >>> [text[s:e] for s, e in clip_span(text, Span(0, len(text)), 4)]
    ['one two, three four,', 'five']
    """
    words = [Span(m.start(), m.end()) for m in re.compile(r"\S+").finditer(text, span.start, span.end)]
    ends = {match.end() for match in _CLAUSE_END.finditer(text, span.start, span.end)}
    ends = {end for end in ends if text.count("(", span.start, end) == text.count(")", span.start, end)}
    pieces: list[Span] = []
    while len(words) > max_words:
        clause_ends = [index for index in range(max_words) if words[index].end in ends]
        cut = clause_ends[-1] + 1 if clause_ends else max_words
        pieces.append(Span(words[0].start, words[cut - 1].end))
        words = words[cut:]
    if words:
        pieces.append(Span(words[0].start, words[-1].end))
    return tuple(pieces)


def _lines(text: str) -> Iterator[Span]:
    start = 0
    for match in _LINE.finditer(text):
        if match.end() < len(text) and text[match.end()].islower():
            continue
        yield Span(start, match.start())
        start = match.end()
    yield Span(start, len(text))


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 20) : match.end()].split()[-1].lstrip("(['\"“‘")
    after = match["after"]
    if _ABBREVIATION.fullmatch(before):
        return False
    if before == "al.":
        return not after[0].isdigit() and not after.startswith("(")
    if _INITIALS.fullmatch(before):
        return _OPENER.fullmatch(after) is not None
    return bool(before.strip(".!?"))


def _strip(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return Span(start, end)
