"""What a strategy leaves each row with, read off the store: its explanation or why it has none, and at what cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from clsgen.data.explanations import grounding
from clsgen.data.teacher.asks import Asking, Round
from clsgen.data.teacher.filters import REASONS, Filters, normalised
from clsgen.data.teacher.selection import Judged, choose, choose_side, judge_answers, without_duplicates
from clsgen.data.teacher.store import Store, Stored
from clsgen.types import Example

Source = Literal["teacher", "human", "extractive"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row after the rounds so far.

    Attributes:
        example: The row.
        explanation: What was kept; None where nothing was.
        source: Who wrote it; None where nothing was kept.
        chosen: The answer that it is; None for a human's or an extractive one.
        answers: Answers to the row, failures among them.
        num_fit: Of these, fit to be kept.
        dropped: Reason -> answers.
        prompt_tokens: Tokens read for the row.
        completion_tokens: Tokens written for it.
    """

    example: Example
    explanation: str | None = None
    source: Source | None = None
    chosen: Stored | None = None
    answers: int = 0
    num_fit: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def is_open(self) -> bool:
        """Whether nothing was kept."""
        return self.explanation is None

    @property
    def is_hinted(self) -> bool:
        """Whether the one kept was written by a teacher that had been told the label."""
        return self.chosen is not None and self.chosen.label is not None

    @property
    def reason(self) -> str | None:
        """Why nothing was kept: the commonest reason among the answers; None where something was, or none was asked."""
        if not self.is_open or not self.dropped:
            return None
        order: Sequence[str] = REASONS
        return max(self.dropped, key=lambda name: (self.dropped[name], -order.index(name)))


@dataclass(frozen=True, slots=True)
class Judge:
    """How answers become explanations: the filters, and what chooses among the fit.

    Attributes:
        asking: How rows are asked about: it gives the keys under which answers are found.
        store: Where they are.
        filters: What an explanation must be.
        order: What chooses, in order.
    """

    asking: Asking
    store: Store
    filters: Filters
    order: Sequence[str]

    def settle(self, outcomes: Sequence[Outcome], round_: Round) -> list[Outcome]:
        """The rows after one more round; rows that are not open are left as they are where the round passes them by.

        Explanations are kept in the order of the rows, so that which of two duplicates stands does not depend on which
        answer came first.
        """
        seen = {normalised(each.explanation) for each in outcomes if each.explanation is not None}
        settled = []
        for outcome in outcomes:
            if round_.is_for_open_rows and not outcome.is_open:
                settled.append(outcome)
                continue
            after = self._settled(outcome, round_, seen)
            if after.explanation is not None:
                seen.add(normalised(after.explanation))
            settled.append(after)
        return settled

    def _settled(self, outcome: Outcome, round_: Round, seen: set[str]) -> Outcome:
        example = outcome.example
        stored = self.store.of(ask.key for ask in self.asking.asks(example, round_))
        judged = without_duplicates(judge_answers(stored, example, self.asking.spec.labels, self.filters), seen)
        if round_.is_for_each_label:
            judged = choose_side(judged, example, self.order)
        best = choose(judged, example.document, self.order)
        return self._with(outcome, stored, judged, best)

    def _with(
        self, outcome: Outcome, stored: Sequence[Stored], judged: Sequence[Judged], best: Judged | None
    ) -> Outcome:
        dropped = Counter(outcome.dropped) + Counter(each.dropped for each in judged if each.dropped is not None)
        return replace(
            outcome,
            explanation=None if best is None else best.reason,
            source=None if best is None else "teacher",
            chosen=None if best is None else best.stored,
            answers=outcome.answers + len(stored),
            num_fit=outcome.num_fit + sum(each.dropped is None for each in judged),
            dropped=dict(dropped),
            prompt_tokens=outcome.prompt_tokens + sum(each.prompt_tokens for each in stored),
            completion_tokens=outcome.completion_tokens + sum(each.completion_tokens for each in stored),
        )


def by_hand(examples: Sequence[Example]) -> list[Outcome]:
    """The explanation column as it is; rows without one stay open."""
    return [
        Outcome(each) if each.explanation is None else Outcome(each, " ".join(each.explanation.split()), "human")
        for each in examples
    ]


def record_of(outcome: Outcome, *, strategy: str, prompts_hash: str, row_hash: str) -> dict[str, object]:
    """An explanation with where it comes from: one line of explanations.jsonl.

    Args:
        outcome: A row that is not open.
        strategy: How it was asked.
        prompts_hash: Of the prompt files.
        row_hash: Of the row it was written for.
    """
    chosen = outcome.chosen
    quotes = grounding(str(outcome.explanation), outcome.example.document)
    return {
        "id": outcome.example.id,
        "row_hash": row_hash,
        "label": outcome.example.label,
        "explanation": outcome.explanation,
        "source": outcome.source,
        "strategy": strategy,
        "is_hinted": outcome.is_hinted,
        "kind": None if chosen is None else chosen.kind,
        "sample": None if chosen is None else chosen.sample,
        "model": None if chosen is None else chosen.model,
        "key": None if chosen is None else chosen.key,
        "prompts_hash": prompts_hash,
        "num_answers": outcome.answers,
        "num_fit": outcome.num_fit,
        "num_quotes": quotes.num_quotes,
        "num_quotes_found": quotes.num_found,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
    }
