"""Run directories as `clsgen eval` leaves them, made by hand, for studies."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from clsgen.data.predictions import to_record
from clsgen.data.source import write_examples
from clsgen.types import TaskSpec
from results import BINARY, rows_of


def write_run(folder: Path, *, reason: str | None = None, spec: TaskSpec = BINARY, num_rows: int = 120) -> Path:
    """A run of 120 rows, two a group; every reason is the one given, or quotes its document."""
    predictions, examples = rows_of(spec, num_rows)
    if reason is not None:
        predictions = [replace(row, explanation=reason) for row in predictions]
    (folder / "model").mkdir(parents=True)
    (folder / "data").mkdir()
    record = {**asdict(spec), "labels": list(spec.labels)}
    del record["proxies"]
    (folder / "model" / "clsgen.json").write_text(json.dumps({"spec": record}), encoding="utf-8")
    write_examples(folder / "data" / "test.jsonl", examples, is_restricted=spec.is_restricted)
    lines = "".join(json.dumps(to_record(row)) + "\n" for row in predictions)
    (folder / "predictions.jsonl").write_text(lines, encoding="utf-8")
    return folder
