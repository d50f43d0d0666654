"""The nouns that every layer shares: example, task, rows by role, prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any, Literal

Role = Literal["train", "validation", "calibration", "test"]
ROLES: tuple[Role, ...] = ("train", "validation", "calibration", "test")

ExplanationMode = Literal["free", "decision"]
"""free: the generator states its own view, then the answer. decision: it argues for the head's decision."""

Explain = Literal["none", "all", "uncertain", "positive"]
"""For which rows a reason is written: uncertain is near the threshold, positive is what was decided positive."""

EMBEDDED = "embedded"
"""What configurations call the base model that comes with the package. No slash: no hub id; a directory of that name is
`./embedded`."""

CONTRACT_SENTENCE = "The reason is written after the probability and does not cause it."


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled (or unlabelled) text.

    Attributes:
        id: Unique within its task.
        document: The text that is read, and the only part that may be cut.
        question: What is asked of this document (a claim, a hypothesis); "" where the task's instruction says all.
        label: One of the task's labels, as a string; None where unknown.
        explanation: Why the label holds, in words; None where there is none.
        groups: Keys that tie rows together (patient, trial, article), each with its kind as a prefix
            ("nct_id:NCT01"). Rows that share any key form one connected component; () means a row on its own.
        metadata: Anything else worth keeping (a true risk, a cause); JSON values only, never input to the model.
    """

    id: str
    document: str
    question: str = ""
    label: str | None = None
    explanation: str | None = None
    groups: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What is asked, and in which words.

    Attributes:
        name: Short name, `clinifact` or the user's own.
        labels: The classes in the order of the head's outputs; 2 or more, distinct, non-empty.
        instruction: The sentence(s) that follow the document and say what to decide.
        positive: For two classes, the label whose probability is reported and thresholded; None for more.
        is_restricted: Data under an access agreement: nothing leaves the machine, no text is printed.
        proxies: Metadata columns that give the label away and must never be input, quoted or shown.
        is_ordered: Whether the labels stand in an order (horizons of 30, 60, 90 days), so that sums of their
            probabilities from the first on mean something.
    """

    name: str
    labels: tuple[str, ...]
    instruction: str
    positive: str | None = None
    is_restricted: bool = False
    proxies: tuple[str, ...] = ()
    is_ordered: bool = False

    @property
    def num_labels(self) -> int:
        """Number of classes, C."""
        return len(self.labels)

    @property
    def positive_index(self) -> int | None:
        """Index of `positive` in `labels`; None with more than two classes."""
        return None if self.positive is None else self.labels.index(self.positive)

    def to_record(self) -> dict[str, Any]:
        """What a model keeps of its task, as JSON values."""
        return asdict(self) | {"labels": list(self.labels), "proxies": list(self.proxies)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TaskSpec:
        """What `to_record` wrote.

        Raises:
            KeyError, TypeError: A field is missing or unknown.

        >>> spec = TaskSpec("falls", ("no", "yes"), "Did they fall?", positive="yes", proxies=("outcome",))
        >>> TaskSpec.from_record(spec.to_record()) == spec
        True
        """
        return cls(**{**record, "labels": tuple(record["labels"]), "proxies": tuple(record.get("proxies", ()))})


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task with its rows as its source publishes them.

    Attributes:
        spec: The task.
        train: Rows that may be carved into train, validation and calibration.
        test: The published held-out rows; () where the source has one file and the split carves a test role too.
        dropped: Reason -> number of source rows left out (contract: nothing silent).
    """

    spec: TaskSpec
    train: tuple[Example, ...]
    test: tuple[Example, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one example; one line of predictions.jsonl.

    Attributes:
        id: The example's id.
        probs: Label -> calibrated probability, sums to 1, in the order of the task's labels.
        logits: Raw class logits on the natural prior, in the order of the labels.
        decision: The label decided by the stored threshold (two classes) or the largest probability.
        threshold: Probability of the positive label from which it is decided; None with more than two classes.
        label_set: Labels that can't be excluded, in the order of the labels; None where the model never abstains.
        abstained: Whether the row is left undecided: its label_set is not the decision alone. None like label_set.
        num_document_tokens_cut: Document tokens left out to fit the context; 0 if whole.
        mode: The mode of the explanation; None where none was asked for.
        explanation: The generated reason, without the stated answer; None where none was asked for.
        stated_label: The label that the text itself states; None where unparsed or none was asked for.
        has_ended: Whether the generator ended by itself; None where no explanation was asked for.
        agreement: free mode: stated_label equals decision, None if unparsed; decision mode: None.
        label: The known label, where the input carried one.
        group: Connected-component id, where known; intervals resample by it.
        question: What was asked, where the input carried it.
    """

    id: str
    probs: Mapping[str, float]
    logits: tuple[float, ...]
    decision: str
    threshold: float | None = None
    label_set: tuple[str, ...] | None = None
    abstained: bool | None = None
    num_document_tokens_cut: int = 0
    mode: ExplanationMode | None = None
    explanation: str | None = None
    stated_label: str | None = None
    has_ended: bool | None = None
    agreement: bool | None = None
    label: str | None = None
    group: str | None = None
    question: str = ""

    @property
    def cumulative(self) -> dict[str, float]:
        """Label -> probability of it or an earlier one; of ordered labels, and never falling by construction.

        >>> Prediction("a", {"within 30 days": 0.2, "within 60 days": 0.1, "later": 0.7}, (), "later").cumulative
        {'within 30 days': 0.2, 'within 60 days': 0.3, 'later': 1.0}
        """
        sums = accumulate(self.probs.values())
        return {label: min(1.0, round(total, 12)) for label, total in zip(self.probs, sums, strict=True)}
