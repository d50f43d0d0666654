"""The grammar of a rule such as `sensitivity=0.9`: a name and, where the rule needs one, a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple


class Range(NamedTuple):
    """What a rule's number means, and where it must lie: above `low`, and at or below `high`."""

    meaning: str
    low: float
    high: float


class Rule(NamedTuple):
    """A parsed rule."""

    name: str
    value: float | None = None


THRESHOLDS: Mapping[str, Range | None] = {
    "max_f1": None,
    "half": None,
    "youden": None,
    "knee": None,
    "sensitivity": Range("least sensitivity", 0.0, 1.0),
    "specificity": Range("least specificity", 0.0, 1.0),
    "ppv": Range("least positive predictive value", 0.0, 1.0),
    "cost": Range("false alarms that one missed positive is worth", 0.0, math.inf),
    "alerts": Range("most alerts per 1,000 rows", 0.0, 1000.0),
}
"""Ways to choose the threshold of two classes."""

ABSTENTIONS: Mapping[str, Range | None] = {
    "none": None,
    "band": Range("distance in probability", 0.0, 0.5),
    "conformal": Range("promised share of sets that hold the label", 0.0, 0.999),
    "conformal_by_class": Range("promised share, in each class", 0.0, 0.999),
}
"""Ways to say of which rows the model decides nothing."""


def parse_rule(text: str, known: Mapping[str, Range | None]) -> Rule:
    """Read `name` or `name=number`.

    Args:
        text: The rule.
        known: The names there are, with the range of the number of those that take one.

    Raises:
        ValueError: An unknown name, a number that is missing, superfluous or out of range; the message lists all rules.

    >>> parse_rule("sensitivity=0.9", THRESHOLDS)
    Rule(name='sensitivity', value=0.9)
    """
    name, equals, number = text.partition("=")
    if name not in known or bool(equals) != (known[name] is not None):
        raise ValueError(f"must be {spelled(known)}; got {text!r}")
    limits = known[name]
    if limits is None:
        return Rule(name)
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (limits.low < value <= limits.high and math.isfinite(value)):
        bound = "" if math.isinf(limits.high) else f" and at most {limits.high:g}"
        raise ValueError(f"{name}: {limits.meaning}, must be a number above {limits.low:g}{bound}; got {number!r}")
    return Rule(name, value)


def spelled(known: Mapping[str, Range | None]) -> str:
    """All rules as a user writes them.

    >>> spelled({"half": None, "cost": THRESHOLDS["cost"]})
    'half or cost=NUMBER'
    """
    names = [name if limits is None else f"{name}=NUMBER" for name, limits in known.items()]
    return f"{', '.join(names[:-1])} or {names[-1]}"
