"""What asking a teacher came to, by class: what was asked, kept and dropped, and whether a class lost its share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clsgen.data.teacher.filters import REASONS
from clsgen.data.teacher.outcomes import Outcome
from clsgen.llm.limits import Prices, Tokens

ALL = "all"


@dataclass(frozen=True, slots=True)
class ClassTally:
    """One class, or all of them.

    Attributes:
        num_rows: Rows asked about.
        num_kept: Rows with an explanation.
        num_hinted: Of these, by a teacher that was told the label.
        num_extractive: Of these, quoted as a last resort.
        share_asked: Of the class among the rows asked about.
        share_kept: Of the class among the rows kept; None where nothing was kept.
        num_answers: Answers, failures among them.
        dropped_answers: Reason -> answers.
        dropped_rows: Reason -> rows without an explanation; "not_asked" for rows that nobody was asked about.
        tokens: Read and written.
        cost: Money; None where prices are not known.
    """

    num_rows: int
    num_kept: int
    num_hinted: int
    num_extractive: int
    share_asked: float
    share_kept: float | None
    num_answers: int
    dropped_answers: dict[str, int]
    dropped_rows: dict[str, int]
    tokens: Tokens
    cost: float | None

    @property
    def hinted_share(self) -> float | None:
        """Share of the explanations that a told teacher wrote; None where there is none."""
        return self.num_hinted / self.num_kept if self.num_kept else None

    @property
    def lost_points(self) -> float | None:
        """Percentage points of its share that the class lost; below 0 where it gained. None where nothing was kept."""
        return None if self.share_kept is None else 100 * (self.share_asked - self.share_kept)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping, with the derived figures."""
        return {
            "num_rows": self.num_rows,
            "num_kept": self.num_kept,
            "num_hinted": self.num_hinted,
            "num_extractive": self.num_extractive,
            "hinted_share": self.hinted_share,
            "share_asked": self.share_asked,
            "share_kept": self.share_kept,
            "lost_points": self.lost_points,
            "num_answers": self.num_answers,
            "dropped_answers": self.dropped_answers,
            "dropped_rows": self.dropped_rows,
            "prompt_tokens": self.tokens.prompt,
            "completion_tokens": self.tokens.completion,
            "cost": self.cost,
        }


def tally(outcomes: Sequence[Outcome], labels: Sequence[str], prices: Prices | None) -> dict[str, ClassTally]:
    """Label -> its tally, in the order of the labels, and "all" ("all classes" where a label is all) at the end.

    Args:
        outcomes: Every row that was asked about.
        labels: The task's labels.
        prices: What tokens cost; None where it is not known.
    """
    num_kept = sum(not each.is_open for each in outcomes)
    parts = {label: [each for each in outcomes if each.example.label == label] for label in labels}
    total = f"{ALL} classes" if ALL in labels else ALL
    return {name: _tally(rows, len(outcomes), num_kept, prices) for name, rows in {**parts, total: outcomes}.items()}


def _tally(rows: Sequence[Outcome], num_rows: int, num_kept: int, prices: Prices | None) -> ClassTally:
    kept = [each for each in rows if not each.is_open]
    tokens = Tokens(sum(each.prompt_tokens for each in rows), sum(each.completion_tokens for each in rows))
    answers = sum((Counter(each.dropped) for each in rows), Counter[str]())
    open_rows = Counter(each.reason or "not_asked" for each in rows if each.is_open)
    return ClassTally(
        num_rows=len(rows),
        num_kept=len(kept),
        num_hinted=sum(each.is_hinted for each in kept),
        num_extractive=sum(each.source == "extractive" for each in kept),
        share_asked=len(rows) / num_rows if num_rows else 0.0,
        share_kept=len(kept) / num_kept if num_kept else None,
        num_answers=sum(each.answers for each in rows),
        dropped_answers=_ordered(answers),
        dropped_rows=_ordered(open_rows),
        tokens=tokens,
        cost=None if prices is None else prices.cost(tokens),
    )


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in (*REASONS, "not_asked") if counts[name]}
