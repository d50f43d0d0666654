"""Asks a language model to read a run's explanations blind: another pair of eyes, whose steadiness is measured too."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clsgen.artifacts import sha256_of, write_json_atomic, write_text_atomic
from clsgen.data.predictions import read_predictions
from clsgen.errors import ArtifactError, TeacherError
from clsgen.evaluation.measure_judge import judge_figures
from clsgen.llm.chat import ChatRequest, ask_all
from clsgen.llm.loop import finished
from clsgen.pipeline.endpoint import Endpoint
from clsgen.pipeline.folder import RunFolder
from clsgen.types import Prediction, TaskSpec

NUM_VERDICTS = 2
MAX_ANSWER_TOKENS = 1024


def judge_run(run: Path, endpoint: Endpoint, *, num_rows: int | None = None) -> dict[str, Any]:
    """Have the explanations of a run judged, write judge.jsonl and judge.json.

    Each reason is shown without its document and without the answer that it states, twice with different seeds.

    Args:
        run: A run that was evaluated with explanations.
        endpoint: The judge.
        num_rows: Most explanations to judge, the first by id; None: all.

    Returns:
        What judge.json holds: model, num_rows, failures by reason, and the figures.

    Raises:
        ArtifactError: No explanation to judge.
        RestrictedError: Restricted texts, and a judge where they may not go.
    """
    folder = RunFolder(run)
    settings = folder.config().evaluate
    spec = folder.spec()
    if not folder.predictions.is_file():
        raise ArtifactError(f"{folder.predictions} must be there; it is not. Run: clsgen eval {run}")
    rows = sorted((row for row in read_predictions(folder.predictions) if row.explanation), key=lambda row: row.id)[
        :num_rows
    ]
    if not rows:
        raise ArtifactError(
            f"{folder.predictions} must hold explanations; it holds none. Evaluate with predict.explain."
        )
    requests = [_request(row, spec, seed) for row in rows for seed in range(NUM_VERDICTS)]
    answers = finished(ask_all(lambda: endpoint.open(is_restricted=spec.is_restricted), requests))
    failures: Counter[str] = Counter()
    verdicts = [_verdict(answer, spec.labels, failures) for answer in answers]
    if not any(verdicts):
        counts = ", ".join(f"{reason} {count}" for reason, count in failures.items())
        raise TeacherError(
            f"judge: some answer must be usable; none of {len(answers)} is ({counts}). Nothing was written.",
            reason=failures.most_common(1)[0][0],
        )
    records = [
        {
            "id": row.id,
            "group": row.group or row.id,
            "decision": row.decision,
            "verdicts": verdicts[index * NUM_VERDICTS : (index + 1) * NUM_VERDICTS],
        }
        for index, row in enumerate(rows)
    ]
    lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records)
    write_text_atomic(run / "judge.jsonl", lines, is_private=spec.is_restricted)
    result = {
        "model": endpoint.model,
        "num_rows": len(rows),
        "failures": dict(failures),
        "predictions_sha256": sha256_of(folder.predictions),
        "figures": judge_figures(records, spec.labels, settings=settings),
    }
    write_json_atomic(run / "judge.json", result, is_private=spec.is_restricted)
    return result


def _request(row: Prediction, spec: TaskSpec, seed: int) -> ChatRequest:
    asked = f"{spec.instruction}\n\n{row.question}".strip()
    text = (
        f"Somebody was asked:\n{asked}\n\nThey gave this reason, and the answer was cut off:\n{row.explanation}\n\n"
        f"From the reason alone, which answer did they give: {', '.join(spec.labels)}? And is the reason fluent and "
        'complete English? Answer with a JSON object and nothing else: {"label": "<answer>", "readable": true or false}'
    )
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(spec.labels)}, "readable": {"type": "boolean"}},
        "required": ["label", "readable"],
        "additionalProperties": False,
    }
    return ChatRequest((("user", text),), temperature=0.7, max_tokens=MAX_ANSWER_TOKENS, seed=seed, schema=schema)


def _verdict(answer: str | TeacherError, labels: Sequence[str], failures: Counter[str]) -> Mapping[str, Any] | None:
    """The label and the readability in an answer; None, and counted, where either is missing."""
    if isinstance(answer, TeacherError):
        failures[answer.reason] += 1
        return None
    block = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        found = json.loads(block[0]) if block else {}
        label, is_readable = found["label"], found["readable"]
    except (ValueError, KeyError, TypeError):
        label, is_readable = None, None
    if label not in labels or not isinstance(is_readable, bool):
        failures["unparsed"] += 1
        return None
    return {"label": label, "is_readable": is_readable}
