"""The page: one file of HTML that loads nothing, under a policy that lets it load nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml
from jinja2 import Environment
from markupsafe import Markup

from clsgen.report.cases import KINDS, Case
from clsgen.report.comparison import comparison_tables
from clsgen.report.figures import Drawing, Rendered
from clsgen.report.results import Results
from clsgen.report.review import people, review_tables
from clsgen.report.wording import figure, interval, number, percent, rows_read
from clsgen.types import CONTRACT_SENTENCE

_BINARY_PARTS = ("auroc", "brier", "ece", "sensitivity", "specificity", "ppv")
_OTHER_PARTS = ("auroc", "brier", "ece", "accuracy", "f1")


def page(
    report: Mapping[str, Any],
    results: Results,
    found: Sequence[Case],
    drawings: Sequence[tuple[Drawing, Rendered]],
    *,
    num_each: int,
) -> str:
    """HTML of a report.

    Args:
        report: What report.json holds.
        results: The run.
        found: The rows to read.
        drawings: The figures.
        num_each: Most rows of a kind, for the sentence that says so.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "interval": interval, "figure": figure, "percent": percent}
    environment.filters["rows_read"] = rows_read
    css, js = _asset("page.css"), _asset("page.js")
    spec = results.spec
    explorer = _explorer(report, results)
    return environment.from_string(_asset("page.html")).render(
        report=report,
        policy=_policy(css, js),
        css=Markup(css),
        js=Markup(js),
        contract=CONTRACT_SENTENCE,
        drawings=[
            {
                "title": drawing.title,
                "alternative": drawing.alternative,
                "light": _data_uri(rendered.light_svg),
                "dark": _data_uri(rendered.dark_svg),
            }
            for drawing, rendered in drawings
        ],
        explorer=explorer,
        explorer_json=Markup(json.dumps(explorer)),
        negative=next((label for label in spec.labels if label != spec.positive), ""),
        share=percent(report["bootstrap"]["confidence"]),
        subgroup_names=_OTHER_PARTS if spec.positive is None else _BINARY_PARTS,
        comparison_tables=[] if results.comparison is None else comparison_tables(results.comparison),
        review_tables=[] if results.review is None else review_tables(results.review),
        review_people="" if results.review is None else people(results.review),
        has_texts=any(entry["n"] for entry in report["explanations"].values()),
        cases=found,
        kinds=report["kinds"],
        names=KINDS,
        num_each=num_each,
        shows_text=results.shows_text,
        hidden_reason="the data is restricted (--show-text puts them in)." if spec.is_restricted else "",
        settings_yaml=yaml.safe_dump(json.loads(json.dumps(results.settings)), sort_keys=False, allow_unicode=True),
        num_answered=sum(bool(item["answer"]) for item in report["checklist"]),
    )


def _explorer(report: Mapping[str, Any], results: Results) -> dict[str, Any] | None:
    """What the slider counts from; None with more than two classes, or where a class has no row."""
    found = report["curves"].get(report["task"]["positive"] or "", {"reason": ""})
    if "reason" in found:
        return None
    threshold, positive = report["model"]["decision"]["threshold"], results.spec.positive
    decided = [row for row in results.predictions if row.label is not None and row.decision == positive]
    true = sum(row.label == positive for row in decided)
    return {
        **found["thresholds"],
        "num_rows": found["num_rows"],
        "num_positive": found["num_positive"],
        "stored": round(1000 * threshold),
        "exact": {"threshold": threshold, "true_positives": true, "false_positives": len(decided) - true},
    }


def _policy(css: str, js: str) -> str:
    """Nothing may be loaded but pictures that the page itself holds; this style and this script alone may act."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(css)}; script-src {_hash(js)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _asset(name: str) -> str:
    return resources.files("clsgen.report").joinpath("assets", name).read_text(encoding="utf-8")
