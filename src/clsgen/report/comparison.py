"""Tables of `comparison.json`: methods on the same rows, and what clsgen is ahead or behind by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clsgen.report.wording import figure, number

METHODS = {
    "clsgen": "clsgen",
    "class_only": "class head alone",
    "text_only": "text alone",
    "two_models": "two models",
    "tfidf": "TF-IDF + LR",
    "cnn": "Kim CNN",
    "cnn_lcd": "CNN of the LCD paper",
    "prompt_label": "prompting, label likelihood",
    "prompt_verbal": "prompting, stated probability",
    "prompt_few_shot": "prompting, few-shot",
    "endpoint": "prompting, endpoint",
}
"""Method -> how tables name it, in the order of the tables."""

SHOWN = ("auroc", "auprc", "brier", "log_loss", "ece", "f1", "accuracy")
TEXTS = ("auroc_alignment", "rli", "r_lkappa", "readability", "unparsed_rate", "perplexity")


def comparison_tables(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tables as captions, column names and rows of cells: the figures, the paired differences, the texts."""
    methods = comparison["methods"]
    seeds = ", ".join(map(str, comparison["seeds"]))
    tables = [
        _table(
            f"Mean over seeds ({seeds}) with the interval of the test rows' sampling.",
            SHOWN,
            {name_of(method): found["metrics"] for method, found in methods.items()},
        ),
        _table(
            "Paired differences on the same rows, clsgen less the other.",
            comparison["compared"],
            {name_of(method): found for method, found in comparison["differences"].items()},
        ),
    ]
    texts = {name_of(method): found["explanations"] for method, found in methods.items() if found["explanations"]}
    if texts:
        tables.append(_table("Explanations, free mode.", TEXTS, texts))
    return tables


def name_of(method: str) -> str:
    """How tables name a method; an endpoint's model stands behind a colon."""
    kind, _, rest = method.partition(":")
    return METHODS.get(kind, kind) + (f" ({rest})" if rest else "")


def _table(caption: str, names: Any, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    shown = [name for name in names if any(found.get(name, {}).get("value") is not None for found in rows.values())]
    return {
        "caption": caption,
        "of": "method",
        "names": shown,
        "rows": [
            {"name": name, "cells": [_cell(column, found.get(column, {})) for column in shown]}
            for name, found in rows.items()
        ],
    }


def _cell(name: str, entry: Mapping[str, Any]) -> str:
    """A figure with its interval; that of the ECE lies above it, as draws have a larger one, and is left out."""
    return number(entry.get("value")) if name == "ece" else figure(entry)
