"""The card of an export: what it is, how it is asked, and what it was measured to say."""

from __future__ import annotations

from typing import NamedTuple

from clsgen.model.card import labels_of, restricted_mark
from clsgen.model.checkpoint import Bundle
from clsgen.types import CONTRACT_SENTENCE


class Parity(NamedTuple):
    """Probabilities of probe rows, read from the written directory by stock classes, against the model's own.

    num_rows: probe rows. largest, mean: absolute difference of a probability. num_decided_otherwise: rows whose
    decision by the stored rule changes. tolerance: the largest difference that is let through. refit: where the
    calibrator was fitted anew, what that moved.
    """

    num_rows: int
    largest: float
    mean: float
    num_decided_otherwise: int
    tolerance: float
    refit: Refit | None = None


class Refit(NamedTuple):
    """A calibrator fitted anew for an export against the run's own, on the same rows; fields as in `Parity`."""

    largest: float
    mean: float
    num_decided_otherwise: int
    own_threshold: float | None


_ASKED = {
    "folded": """Both heads in one stock causal model: the log-probabilities of the ids named in `folded.json`, at the
first token that a server writes after our prompt, are the class logits up to a constant; the text that goes on from
there is the reason. Prompts, biases, threshold and abstention are the client's part:

```python
from clsgen import StockClassifier

with StockClassifier("path/to/this/directory", "http://localhost:8000/v1") as classifier:
    classifier.predict(["a text"], explain="all")
```

The server writes greedily; a run-time rule against repeated phrases that the model may have at home is not applied.
""",
    "seqcls": """A stock sequence classifier. Its tokenizer puts template and instruction around a text (and around a
question, given as the second text of a pair), so the softmax of its logits is the calibrated probability:

```python
from transformers import pipeline

classify = pipeline("text-classification", model="path/to/this/directory", top_k=None)
classify("a text")
```

A text that is too long is cut at one end, whatever the model does at home.
""",
    "causal-lm": """The language head alone, as a stock causal model: it writes reasons, and knows no probability.
Its chat template is the backbone's own; document first, then the instruction.
""",
    "peft": """PEFT's adapter and, in `head.safetensors`, the class head: `weight` (classes, hidden), applied to the
last hidden state (final norm included) of the prompt's last token. Calibrator and threshold are not part of it.

```python
from clsgen.model.embedded import located  # where the base that comes with clsgen lies; other names stay as they are
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained(located("BASE"))
model = PeftModel.from_pretrained(base, "path/to/this/directory")
```
""",
}


def export_card(bundle: Bundle, form: str, parity: Parity) -> str:
    """Markdown card of an exported directory.

    Args:
        bundle: The model it was made from.
        form: folded, seqcls, causal-lm or peft.
        parity: What was measured.
    """
    spec, rule = bundle.spec, bundle.rule
    decided = (
        f"clsgen decides `{spec.positive}` from a probability of {rule.threshold:.4f} upwards (policy `{rule.policy}`, "
        "chosen on calibration rows). The likeliest label, which stock tools give, is not that decision."
        if rule.threshold is not None
        else "clsgen decides the label with the largest probability."
    )
    measured = (
        f"Probabilities read from these files by stock classes, against the model's own, on {parity.num_rows} "
        f"calibration rows: largest difference {parity.largest:.2g}, mean {parity.mean:.2g}, decisions changed "
        f"{parity.num_decided_otherwise}. More than {parity.tolerance:g} would have been refused."
    )
    if parity.refit is not None:
        measured += "\n\n" + _refitted(parity.refit)
    return f"""---
library_name: transformers
tags: [clsgen, calibration, explanation]
---

# {spec.name} ({form})
{restricted_mark(spec)}
{_ASKED[form].replace("BASE", bundle.base.name)}
| | |
|---|---|
| asked | {spec.instruction} |
| labels | {labels_of(spec)} |
| base | {bundle.base.name} |
| calibrator | {bundle.calibrator.method}, fitted on {bundle.calibrator.num_rows} rows |

{decided} {CONTRACT_SENTENCE}

{measured}
"""


def _refitted(refit: Refit) -> str:
    own = "" if refit.own_threshold is None else f" The run's own threshold is {refit.own_threshold:.4f}."
    return (
        "**These are not the run's probabilities**: a stock classifier has no biases, so a temperature alone was "
        "fitted on the calibration rows for this export, and the threshold chosen after it. Against the run's own "
        f"calibrator, on the same rows: largest difference {refit.largest:.2g}, mean {refit.mean:.2g}, decisions "
        f"changed {refit.num_decided_otherwise}.{own}"
    )
