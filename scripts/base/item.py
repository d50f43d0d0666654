"""A labelled text of the last phase."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clsgen.types import TaskSpec


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled text with the reasons that may be given for it; its group is never split between train and watch.

    Attributes:
        spec: What is asked.
        document: What is read.
        question: Claim, hypothesis or question.
        label: One of spec.labels.
        reasons: Explanations, one drawn each time; () trains the decision alone.
        group: Article or premise.
    """

    spec: TaskSpec
    document: str
    question: str
    label: str
    reasons: tuple[str, ...]
    group: str

    def cleaned(self) -> Item:
        """With reasons of one line each; empty and undecodable ones are left out."""
        reasons = (" ".join(reason.split()) for reason in self.reasons if "\ufffd" not in reason)
        return replace(self, reasons=tuple(reason for reason in reasons if reason))
