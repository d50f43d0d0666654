"""Numbers in words: one way to write a figure, a share, a count, wherever a report says one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def number(value: float | None, digits: int = 3) -> str:
    """A figure to some digits; a dash where it is undefined.

    >>> number(0.12345), number(None), number(-0.0001)
    ('0.123', '–', '0.000')
    """
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(entry: Mapping[str, Any], digits: int = 3) -> str:
    """The ends of an interval; "" where it has none.

    >>> interval({"low": 0.1, "high": 0.25})
    '0.100 to 0.250'
    """
    low, high = entry.get("low"), entry.get("high")
    return "" if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"


def figure(entry: Mapping[str, Any], digits: int = 3) -> str:
    """A figure with its interval in brackets.

    >>> figure({"value": 0.2, "low": 0.1, "high": 0.25}), figure({"value": 0.2})
    ('0.200 (0.100 to 0.250)', '0.200')
    """
    ends = interval(entry, digits)
    return number(entry.get("value"), digits) + (f" ({ends})" if ends else "")


def rows_read(entry: Mapping[str, Any]) -> str:
    """How many rows a figure is made of; for a share of some of them, how many of how many.

    >>> rows_read({"n": 480}), rows_read({"n": 480, "numerator": 41, "denominator": 52})
    ('480', '41 of 52')
    """
    if "denominator" in entry:
        return f"{count(entry['numerator'])} of {count(entry['denominator'])}"
    return count(entry["n"])


def percent(value: float | None) -> str:
    """A share in whole percent, with a digit more below 1% and above 99%.

    >>> percent(0.254), percent(0.9971), percent(1.0), percent(0.004), percent(None)
    ('25%', '99.7%', '100%', '0.4%', '–')
    """
    if value is None:
        return "–"
    digits = 1 if 0 < value < 0.01 or 0.99 < value < 1 else 0
    return f"{100 * value:.{digits}f}%"


def count(value: int) -> str:
    """A count with separators.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{value:,}"
