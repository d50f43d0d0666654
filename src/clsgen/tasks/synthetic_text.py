"""Writes one generated note: statements of the findings, decoys and filler, dealt into sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, final

import numpy as np

from clsgen.tasks.synthetic_filler import SHORT_FILLER, SHORT_HEADERS, WORD_SLOTS, Slots
from clsgen.tasks.synthetic_findings import FINDINGS
from clsgen.tasks.synthetic_long import CORE, LONG_FILLER, LONG_HEADERS, MEDICATIONS
from clsgen.tasks.synthetic_phrases import DECOYS, SECTION_OF, WORDING
from clsgen.tasks.synthetic_risk import Admission

Length = Literal["short", "lcd"]


class Quote(NamedTuple):
    """How a note states a finding.

    Attributes:
        fact: The noun phrase that holds the fact, as it stands in the note.
        sentence: The sentence around it, without the final period.
    """

    fact: str
    sentence: str


class Note(NamedTuple):
    """A written note.

    Attributes:
        document: Its text.
        quotes: Finding -> how it is stated; findings that are absent, or said to be, are left out.
    """

    document: str
    quotes: dict[str, Quote]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a length asks for.

    Attributes:
        median_words: Median of the drawn target.
        spread: Standard deviation of the target's logarithm.
        limits_words: Smallest and largest target.
        echo_section: Where findings are stated a second time, in other words; None: they are stated once.
        num_decoys: Sentences about other people or times.
        headers: Section -> its headings; the order is that of a tidy note.
        core: Blocks that every note holds.
        filler: Blocks drawn until the target is reached.
    """

    median_words: float
    spread: float
    limits_words: tuple[float, float]
    echo_section: str | None
    num_decoys: int
    headers: dict[str, tuple[str, ...]]
    core: tuple[tuple[str, str], ...]
    filler: tuple[tuple[str, str], ...]


LAYOUTS: Final[dict[Length, Layout]] = {
    "short": Layout(112, 0.10, (95, 150), None, 2, SHORT_HEADERS, (), SHORT_FILLER),
    "lcd": Layout(1690, 0.15, (1150, 2150), "course", 4, LONG_HEADERS, CORE, LONG_FILLER),
}
_HEADERLESS_SHARE = 0.15
_MISSING_HEADER_SHARE = 0.15
_SHUFFLED_SHARE = 0.6
_LINE_STARTS = ("# ", "- ", "BLOOD ", "URINE ", *(f"{number}. " for number in range(1, 20)))


def patient_words(rng: np.random.Generator) -> dict[str, str]:
    """Slots that all notes of one patient share: where a cancer started, and where it went."""
    return {slot: _one_of(rng, WORD_SLOTS[slot]) for slot in ("primary", "organ")}


def write_note(admission: Admission, slots: Slots, *, rng: np.random.Generator, length: Length) -> Note:
    """The text of one admission.

    Args:
        admission: What the note must state.
        slots: Pronouns and numbers of the patient.
        rng: Source of randomness.
        length: short or lcd.

    Returns:
        The document and the quotes of what it states.
    """
    draft = _Draft(slots, rng, layout=LAYOUTS[length])
    quotes = draft.state_findings(admission)
    draft.add_decoys()
    draft.add_core()
    draft.add_medications()
    draft.add_filler()
    return Note(draft.document(), quotes)


@final
class _Draft:
    """A note while it is written: sentences by section.

    Args:
        slots: Fills the sentences.
        rng: Source of randomness.
        layout: What the length asks for.
    """

    def __init__(self, slots: Slots, rng: np.random.Generator, *, layout: Layout) -> None:
        self._slots, self._rng, self._layout = slots, rng, layout
        self._sections: dict[str, list[str]] = {section: [] for section in layout.headers}

    def state_findings(self, admission: Admission) -> dict[str, Quote]:
        """Put the stated findings into their sections, and again where the layout says so; the age opens the note."""
        quotes: dict[str, Quote] = {}
        for finding, index, value in zip(FINDINGS, admission.levels, admission.values, strict=True):
            level = finding.levels[index]
            if level.silence > 0 and self._rng.random() < level.silence:
                continue
            self._slots["v"] = f"{value:.{finding.decimals}f}"
            wording = WORDING[finding.name][level.name]
            first, second = self._rng.permutation(len(wording))[:2].tolist()
            quote, sentence = _read_brackets(wording[first].format_map(self._slots))
            if quote is not None:
                quotes[finding.name] = quote
            self._sections[SECTION_OF[finding.name]].append(sentence)
            if self._layout.echo_section is not None and finding.name != "age":
                echo = _read_brackets(wording[second].format_map(self._slots))[1]
                self._sections[self._layout.echo_section].append(echo)
        return quotes

    def add_decoys(self) -> None:
        """Add what is true of relatives or of another time, whatever the patient has."""
        topics = tuple(DECOYS)
        section = "social" if "social" in self._sections else "history"
        for place in self._rng.permutation(len(topics))[: self._layout.num_decoys].tolist():
            self._add(section, _one_of(self._rng, DECOYS[topics[place]]))

    def add_core(self) -> None:
        """Add the blocks that every note of this layout holds."""
        for section, block in self._layout.core:
            self._add(section, block)

    def add_medications(self) -> None:
        """Add numbered lists where the layout has them: those of admission, and those and a few more at discharge."""
        if "medications" not in self._sections:
            return
        num_home, num_new = int(self._rng.integers(8, 15)), int(self._rng.integers(1, 5))
        order = self._rng.permutation(len(MEDICATIONS))[: num_home + num_new].tolist()
        chosen = [MEDICATIONS[place] for place in order]
        for section, names in (("medications", chosen[:num_home]), ("discharge_medications", chosen)):
            self._sections[section] += [f"{number}. {name}" for number, name in enumerate(sorted(names), start=1)]

    def add_filler(self) -> None:
        """Add filler, without replacement, until the drawn number of words is reached."""
        layout = self._layout
        drawn = layout.median_words * np.exp(layout.spread * self._rng.standard_normal())
        target = float(np.clip(drawn, *layout.limits_words))
        num_words = sum(len(block.split()) for blocks in self._sections.values() for block in blocks)
        for place in self._rng.permutation(len(layout.filler)).tolist():
            if num_words >= target:
                return
            section, block = layout.filler[place]
            self._add(section, block)
            num_words += len(block.split())

    def document(self) -> str:
        """Join the sections: the opening first, the others in a tidy or shuffled order, some without their header."""
        names = [name for name, blocks in self._sections.items() if blocks]
        if self._rng.random() < _SHUFFLED_SHARE:
            names = self._shuffled(names, num_kept=1)
        is_headerless = self._rng.random() < _HEADERLESS_SHARE
        parts: list[str] = []
        for name in names:
            blocks = self._sections[name]
            if "exam" not in name and "medications" not in name:
                blocks = self._shuffled(blocks, num_kept=1 if name == "opening" else 0)
            has_header = not is_headerless and self._rng.random() >= _MISSING_HEADER_SHARE
            header = f"{_one_of(self._rng, self._layout.headers[name])}\n" if has_header else ""
            parts.append(header + _joined(blocks))
        return "\n\n".join(parts)

    def _add(self, section: str, block: str) -> None:
        self._sections[section].append(block.format_map(self._slots))

    def _shuffled(self, texts: list[str], *, num_kept: int) -> list[str]:
        """The texts in another order, after the first num_kept."""
        rest = texts[num_kept:]
        return texts[:num_kept] + [rest[place] for place in self._rng.permutation(len(rest)).tolist()]


def _one_of(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _read_brackets(marked: str) -> tuple[Quote | None, str]:
    """The quote of a bracketed sentence, None where it has no brackets, and the sentence without them."""
    sentence = marked.replace("[", "").replace("]", "")
    if "[" not in marked:
        return None, sentence
    return Quote(marked[marked.index("[") + 1 : marked.index("]")], sentence.removesuffix(".")), sentence


def _joined(blocks: list[str]) -> str:
    """Blocks as running text, with problems, list items and laboratory lines on lines of their own."""
    text, was_line = "", False
    for block in blocks:
        is_line = block.startswith(_LINE_STARTS)
        if text:
            text += "\n" if is_line or was_line else " "
        text += block
        was_line = is_line
    return text
