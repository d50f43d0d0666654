"""A run's results made by hand, with texts that would break a careless page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from clsgen.config.prediction import EvaluateSettings
from clsgen.config.run import RunConfig
from clsgen.evaluation.evaluate import Context, evaluate
from clsgen.report.results import Results
from clsgen.types import Example, Prediction, TaskSpec

HOSTILE = "</script><script>document.title = 'broken'</script> <img src=x onerror=alert(1)> & \"quoted\""
SETTINGS = EvaluateSettings(num_bootstrap=100)
BINARY = TaskSpec("toy", ("no", "yes"), "Is it <so>?", positive="yes")
THREE = TaskSpec("toy3", ("a", "b", "c"), "Which?")


def rows_of(spec: TaskSpec, num_rows: int = 240, threshold: float = 0.4) -> tuple[list[Prediction], list[Example]]:
    rng = np.random.default_rng(4)
    predictions, examples = [], []
    for i in range(num_rows):
        probs = dict(zip(spec.labels, map(float, rng.dirichlet([1.0] * spec.num_labels)), strict=True))
        decision = max(probs, key=lambda label: probs[label])
        if spec.positive is not None:
            decision = "yes" if probs["yes"] >= threshold else "no"
        label = str(rng.choice(spec.labels, p=list(probs.values())))
        stated = decision if i % 7 else next(each for each in spec.labels if each != decision)
        document = f"Note {i}. The patient {HOSTILE} was well\nand went home today. Nothing else was seen."
        examples.append(Example(f"row{i:03d}", document, label=label, metadata={"sex": "fm"[i % 2]}))
        predictions.append(
            Prediction(
                id=f"row{i:03d}",
                probs=probs,
                logits=(),
                decision=decision,
                threshold=threshold if spec.positive is not None else None,
                mode="free",
                explanation='The note says "was well and went home today", so it is.',
                stated_label=stated,
                has_ended=True,
                agreement=stated == decision,
                label=label,
                group=f"g{i // 2}",
                question=f"Is {HOSTILE} so?",
            )
        )
    return predictions, examples


def results_of(spec: TaskSpec, **changes: Any) -> Results:
    predictions, test = rows_of(spec)
    columns = {"sex": {row.id: row.metadata["sex"] for row in test}}
    context = Context(documents={row.id: row.document for row in test}, columns=columns)
    rule = {"labels": list(spec.labels), "policy": "max_f1", "chosen_on": "calibration", "threshold": 0.4}
    if spec.positive is None:
        rule |= {"policy": "argmax", "threshold": None}
    settings = {"data": {"task": "clinifact"}, "model": {"backbone": "embedded"}}
    found = Results(
        name="a run",
        spec=spec,
        predictions=predictions,
        test=test,
        metrics=evaluate(predictions, spec, settings=SETTINGS, context=context),
        manifest={
            "rows": {role: dict.fromkeys(spec.labels, 50) for role in ("train", "validation", "calibration", "test")},
            "shared_with_test": {"train": 3},
            "seeds": {"train": 0},
            "packages": {"clsgen": "0.1.0"},
            "data_hashes": {"train": "ab" * 32},
            "history": [{"train_runtime": 12.0}],
        },
        settings=RunConfig.model_validate(settings).model_dump(mode="json"),
        model={
            "base": {"name": "embedded", "weights_sha256": "cd" * 32},
            "tuning": "lora",
            "calibrator": {"method": "vector", "class_counts": [60, 40], "fitted_on": "calibration"},
            "decision": rule,
        },
        comparison=None,
        review=None,
        more={},
        stale=(),
        shows_text=True,
    )
    return replace(found, **changes)
