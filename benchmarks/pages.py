"""The pages of docs/benchmarks: a heading, what was measured on and how, a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def page(title: str, about: str, table: str) -> str:
    """A page of Markdown."""
    return f"# {title}\n\n{about}\n\n{table}\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown, cells as they are written."""
    lines = [_line(columns), "|" + "---|" * len(columns), *map(_line, rows)]
    return "\n".join(lines)


def measured_on(machine: Mapping[str, Any]) -> str:
    """The machine in words, without a full stop."""
    return "Measured on: " + ", ".join(f"{name} {value}" for name, value in machine.items())


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
