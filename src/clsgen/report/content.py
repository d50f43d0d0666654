"""What report.json holds: every number and sentence of the page, and no text of any row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clsgen.config.prediction import EvaluateSettings
from clsgen.evaluation.curves import coverage_curve, curves, net_benefit_gain
from clsgen.evaluation.table import tabulate
from clsgen.report.cases import Case, num_of_kind
from clsgen.report.checklist import checklist
from clsgen.report.results import Results
from clsgen.report.summary import summary


def content(results: Results, found: list[Case], *, settings: EvaluateSettings) -> dict[str, Any]:
    """JSON values of the report.

    Args:
        results: The run.
        found: The rows to read; their ids, labels and probabilities are kept.
        settings: Draws and bins of the curves.
    """
    spec, metrics, manifest = results.spec, results.metrics, results.manifest
    table = tabulate(results.predictions, spec)
    drawn = curves(table, settings=settings)
    gain = net_benefit_gain(table, settings=settings)
    return {
        "name": results.name,
        "task": {
            "name": spec.name,
            "instruction": spec.instruction,
            "labels": list(spec.labels),
            "positive": spec.positive,
            "is_restricted": spec.is_restricted,
        },
        "summary": [statement._asdict() for statement in summary(results, gain)],
        "metrics": metrics["metrics"],
        "explanations": metrics["explanations"] | results.more,
        "bootstrap": metrics["bootstrap"],
        "classes": metrics["classes"],
        "subgroups": metrics["subgroups"],
        "comparison": results.comparison,
        "review": results.review,
        "curves": drawn,
        "coverage": coverage_curve(table),
        "kinds": num_of_kind(results),
        "cases": [_case(case) for case in found],
        "audit": {
            "rows": manifest.get("rows") or {},
            "shared_with_test": manifest.get("shared_with_test") or {},
            "dropped": manifest.get("dropped") or {},
            "explanation_sources": {n: v for n, v in (manifest.get("explanation_sources") or {}).items() if v},
            "data_hashes": manifest.get("data_hashes") or {},
            "truncated_share": metrics.get("truncated_share"),
            "num_unlabelled": metrics.get("num_unlabelled", 0),
        },
        "model": dict(results.model),
        "run": _run(results),
        "packages": manifest.get("packages") or {},
        "checklist": [item._asdict() for item in checklist(results)],
    }


def _case(case: Case) -> dict[str, Any]:
    row = case.prediction
    return {
        "id": row.id,
        "kinds": list(case.kinds),
        "label": row.label,
        "decision": row.decision,
        "stated_label": row.stated_label,
        "probs": dict(row.probs),
    }


def _run(results: Results) -> dict[str, str]:
    """The rows of the table of the run."""
    model, manifest = results.model, results.manifest
    base: Mapping[str, Any] = model["base"]
    rule: Mapping[str, Any] = model["decision"]
    seeds = ", ".join(f"{name} {seed}" for name, seed in (manifest.get("seeds") or {}).items())
    decided = "the likeliest label" if rule["threshold"] is None else f"from {rule['threshold']:.4f} upwards"
    abstention = (rule.get("abstention") or {}).get("policy", "never")
    return {
        "base model": f"{base['name']}, weights {str(base.get('weights_sha256'))[:16]}",
        "tuning": str(model["tuning"]),
        "calibrator": f"{model['calibrator']['method']}, "
        f"{sum(model['calibrator'].get('class_counts') or [])} {model['calibrator']['fitted_on']} rows",
        "decision": f"{decided} ({rule['policy']}, chosen on {rule['chosen_on']} rows)",
        "left undecided": abstention,
        "seeds": seeds,
        "commit": str(manifest.get("commit") or "unknown"),
        "platform": f"{manifest.get('platform', '')}, Python {manifest.get('python', '')}",
    }
