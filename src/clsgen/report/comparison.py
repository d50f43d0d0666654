"""Tables of `comparison.json`: methods on the same rows, and what clsgen is ahead or behind by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "prompt_few_shot": "prompting, few-shot",
    "prompt_verbal": "prompting, stated probability",
    "endpoint": "prompting, endpoint",
}
"""Method -> how tables name it, in the order of the tables."""
DEFAULT = ("clsgen", "class_only", "text_only", "two_models", "tfidf", "cnn", "prompt_label", "prompt_few_shot")
"""What `clsgen compare` compares unless it is told otherwise."""

SHOWN = ("auroc", "auprc", "brier", "log_loss", "ece", "f1", "accuracy")
TEXTS = ("auroc_alignment", "rli", "r_lkappa", "readability", "unparsed_rate", "perplexity")


def comparison_tables(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tables as captions, column names and rows of cells: the figures, the paired differences, the texts."""
    methods = comparison["methods"]
    seeds = ", ".join(map(str, comparison["seeds"]))

    def named(method: str) -> str:
        num_rows = methods[method].get("num_rows", comparison["num_rows"])
        some = "" if num_rows == comparison["num_rows"] else f", {num_rows} of {comparison['num_rows']} rows"
        return name_of(method) + some

    metrics = {named(method): found["metrics"] for method, found in methods.items()}
    differences = {named(method): found for method, found in comparison["differences"].items()}
    texts = {named(method): found["explanations"] for method, found in methods.items() if found["explanations"]}
    tables = [
        _table(f"Mean over seeds ({seeds}) with the interval of the test rows' sampling.", SHOWN, _cells(metrics)),
        _table(
            "Lowest and highest seed.",
            SHOWN,
            {name: ends for name, entries in metrics.items() if (ends := _ends(entries))},
        ),
        _table(
            "Paired differences on the same rows, clsgen less the other.", comparison["compared"], _cells(differences)
        ),
        _table("Explanations, free mode.", TEXTS, _cells(texts)),
    ]
    return [table for table in tables if table["rows"]]


def _cells(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Figures with their intervals; that of the ECE lies above it, as draws have a larger one, and is left out."""
    return {
        method: {
            name: number(entry["value"]) if name == "ece" else figure(entry)
            for name, entry in entries.items()
            if isinstance(entry, Mapping) and entry.get("value") is not None
        }
        for method, entries in rows.items()
    }


def _ends(entries: Mapping[str, Any]) -> dict[str, str]:
    """Smallest and largest seed of each figure, where there are several."""
    found = {}
    for name, entry in entries.items():
        seeds = [value for value in entry.get("seeds", ()) if value is not None]
        if len(seeds) > 1:
            found[name] = f"{number(min(seeds))} to {number(max(seeds))}"
    return found


def name_of(method: str) -> str:
    """How tables name a method; an endpoint's model stands behind a colon."""
    kind, _, rest = method.partition(":")
    return METHODS.get(kind, kind) + (f" ({rest})" if rest else "")


def _table(caption: str, names: Sequence[str], rows: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A table of the columns that some row has."""
    shown = [name for name in names if any(name in cells for cells in rows.values())]
    return {
        "caption": caption,
        "of": "method",
        "names": shown,
        "rows": [
            {"name": name, "cells": [cells.get(column, number(None)) for column in shown]}
            for name, cells in rows.items()
        ],
    }
