"""Tables of `review.json`: what reviewers said of the models, how far they agree, which reason they prefer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clsgen.report.wording import figure

QUESTIONS = {
    "agrees": "agree with the decision",
    "agrees_where_right": "agree where it is right",
    "agrees_where_wrong": "agree where it is wrong",
    "supports": "reason supports it",
    "faithful": "faithful to the text",
    "readable": "easy to read",
    "harmful": "not harmful",
}
"""Question -> how its column is named, in the order of the columns."""


def review_tables(review: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tables as captions, column names and rows of cells: shares by model, agreement, preference."""
    shares = [
        {"name": model, "cells": [figure(figures.get(name, {})) for name in QUESTIONS]}
        for model, figures in review["models"].items()
    ]
    agreement = review["agreement"]
    kinds = list(next(iter(agreement.values())))  # a row each: their number grows with that of the reviewers
    agreed = [{"name": kind, "cells": [figure(found[kind]) for found in agreement.values()]} for kind in kinds]
    asked = [QUESTIONS.get(name, name) for name in agreement]
    preferred = [
        {
            "name": f"{each['first']} against {each['second']}",
            "cells": [each["num_first"], each["num_ties"], each["num_second"], figure(each["net"])],
        }
        for each in review["preference"]
    ]
    tables = [
        _table(
            "Share of the best answer, with the interval of the rows' sampling.", "model", QUESTIONS.values(), shares
        ),
        _table("Agreement of the reviewers beyond chance: 1 is full, 0 what chance gives.", "measure", asked, agreed),
    ]
    if preferred:
        names = ("first", "no difference", "second", "first less second")
        tables.append(_table("Which reason is preferred, models hidden.", "pair", names, preferred))
    return tables


def people(review: Mapping[str, Any]) -> str:
    """Reviewers with their checks, those left out named as such."""
    return ", ".join(
        f"{name} ({each['num_answered']} answered, {each['num_passed']} of {each['num_checks']} checks passed"
        + (", left out)" if each["is_left_out"] else ")")
        for name, each in review["reviewers"].items()
    )


def _table(caption: str, of: str, names: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"caption": caption, "of": of, "names": list(names), "rows": rows}
