"""The model card: what the directory is, what its numbers mean, what it must not be used for."""

from __future__ import annotations

from pathlib import Path

from clsgen.model.calibrator import Calibrator
from clsgen.model.decision import DecisionRule
from clsgen.types import CONTRACT_SENTENCE, EMBEDDED, TaskSpec

_EMBEDDED_LICENCE = "cc-by-sa-4.0"
_RESTRICTED = "**Restricted: made from data under an access agreement. Do not share it outside that agreement.**"


def in_a_line(label: str) -> str:
    """A label as a card's tables bear it: on one line, without the mark that parts columns."""
    return " ".join(label.split()).replace("|", "\\|")


def labels_of(spec: TaskSpec) -> str:
    """All labels, for a sentence or a cell."""
    return ", ".join(f"`{in_a_line(label)}`" for label in spec.labels)


def restricted_mark(spec: TaskSpec) -> str:
    """What the card of anything made from restricted data says; "" for other data."""
    return f"\n{_RESTRICTED}\n" if spec.is_restricted else ""


def is_marked_restricted(folder: Path) -> bool:
    """Whether a folder holds a model or an export of restricted data: what is trained from it is restricted too."""
    card = folder / "README.md"
    return card.is_file() and _RESTRICTED in card.read_text(encoding="utf-8", errors="replace")


def model_card(spec: TaskSpec, calibrator: Calibrator, rule: DecisionRule, *, base_name: str, tuning: str) -> str:
    """Markdown card of a model directory.

    Args:
        spec: The task.
        calibrator: Its calibrator.
        rule: Its decision rule.
        base_name: Hub id or folder name of the base, "embedded", or "scratch".
        tuning: full, lora, qlora or head_only.
    """
    threshold = (
        "The label with the largest probability is decided."
        if rule.threshold is None
        else f"`{spec.positive}` is decided from a probability of {rule.threshold:.4f} upwards "
        f"(policy `{rule.policy}`, chosen on {rule.chosen_on} rows)."
    )
    if rule.abstention is not None:
        threshold += f" Rows may be left undecided (policy `{rule.abstention.policy}`)."
    is_embedded = base_name == EMBEDDED  # of other bases nothing is known here
    front = f"license: {_EMBEDDED_LICENCE}\n" if is_embedded else ""
    licence = "\n| licence | CC BY-SA 4.0, as its base, whose card in the package names the sources |" * is_embedded
    return f"""---
{front}library_name: clsgen
pipeline_tag: text-classification
tags: [clsgen, text-classification, calibration, explanation]
---

# {spec.name}
{restricted_mark(spec)}
A dual-head model: a class head gives calibrated probabilities of {labels_of(spec)};
the language head writes a reason. {CONTRACT_SENTENCE}

| | |
|---|---|
| asked | {spec.instruction} |
| base | {base_name} |
| tuning | {tuning} |
| calibrator | {calibrator.method}, fitted on {calibrator.num_rows} rows |
| decision | {threshold} |{licence}

```python
from clsgen import Classifier

classifier = Classifier.from_pretrained("path/to/this/directory")
classifier.predict_proba(["a text"])
```

Probabilities hold for texts like the calibration rows. At a site with another prevalence pass `prior=`, and
recalibrate on rows of your own before acting on them. Generated reasons can be wrong.
"""
