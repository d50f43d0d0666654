"""A prediction as a JSON record, and back: one line of predictions.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from clsgen.errors import DataError
from clsgen.types import Prediction

SUM_TOLERANCE = 1e-3
"""Probabilities may miss a sum of 1 by this much: room for a file that rounds to four digits."""

_FIELDS = tuple(field.name for field in fields(Prediction))
_REQUIRED = ("id", "probs", "decision")
_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "probs": (dict,),
    "logits": (list, tuple),
    "decision": (str,),
    "threshold": (int, float, type(None)),
    "label_set": (list, tuple, type(None)),
    "abstained": (bool, type(None)),
    "num_document_tokens_cut": (int,),
    "mode": (str, type(None)),
    "explanation": (str, type(None)),
    "stated_label": (str, type(None)),
    "has_ended": (bool, type(None)),
    "agreement": (bool, type(None)),
    "label": (str, type(None)),
    "group": (str, type(None)),
    "question": (str,),
}


def to_record(prediction: Prediction) -> dict[str, Any]:
    """Gives a prediction as JSON values, every field present, None as null.

    >>> record = to_record(Prediction("a", {"no": 0.75, "yes": 0.25}, (0.5, -0.6), "no"))
    >>> record["probs"], record["logits"], record["label"]
    ({'no': 0.75, 'yes': 0.25}, [0.5, -0.6], None)
    """
    record = asdict(prediction)
    record["probs"] = dict(prediction.probs)
    record["logits"] = list(prediction.logits)
    record["label_set"] = None if prediction.label_set is None else list(prediction.label_set)
    return record


def from_record(record: Mapping[str, Any], where: str) -> Prediction:
    """Gives the prediction of a record; what is absent takes the field's default, absent logits are ().

    Args:
        record: JSON values by field name.
        where: File and line, for the message.

    Raises:
        DataError: A field is missing, unknown or of another kind; a probability is not in [0, 1], or they do not
            add up to 1; decision, stated_label or label is not among their
            labels; an explanation lacks mode or has_ended.
    """
    if not isinstance(record, Mapping):
        raise DataError(f"{where}: a prediction must be a JSON object; got {type(record).__name__}.")
    _check_kinds(record, where)
    _check_numbers(record, where)
    _check_set(record, where)
    _check_explanation(record, where)
    values = {name: value for name, value in record.items() if name not in ("probs", "logits", "label_set")}
    label_set = record.get("label_set")
    return Prediction(
        probs={label: float(prob) for label, prob in record["probs"].items()},
        logits=tuple(float(logit) for logit in record.get("logits", ())),
        label_set=None if label_set is None else tuple(label_set),
        **values,
    )


def read_predictions(path: str | Path) -> list[Prediction]:
    """Reads a file of predictions, one JSON object a line, in the order of the file.

    Raises:
        DataError: The file is missing or empty, a line is broken (file and line are named), an id occurs twice.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path}: predictions must be a readable file; got {error.strerror!r}.") from error
    predictions: list[Prediction] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        prediction = from_record(_parse(line, where), where)
        if prediction.id in line_of:
            raise DataError(
                f"{where}: id must occur once; got {prediction.id!r}, already in line {line_of[prediction.id]}. "
                "Remove one of the two lines."
            )
        line_of[prediction.id] = number
        predictions.append(prediction)
    if not predictions:
        raise DataError(f"{path}: predictions must be at least one line; got an empty file.")
    return predictions


def _parse(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise DataError(
            f"{where}: the line must be one JSON object in UTF-8; got {error}. "
            "A line broken off at the end of the file is what an interrupted run leaves: resume it."
        ) from error


def _check_kinds(record: Mapping[str, Any], where: str) -> None:
    missing = [name for name in _REQUIRED if name not in record]
    if missing:
        raise DataError(f"{where}: a prediction must have {', '.join(_REQUIRED)}; got none of {missing}.")
    unknown = [name for name in record if name not in _FIELDS]
    if unknown:
        raise DataError(f"{where}: a field must be one of {', '.join(_FIELDS)}; got {unknown[0]!r}. Remove it.")
    for name, value in record.items():
        is_wrong_bool = isinstance(value, bool) and bool not in _KINDS[name]
        if is_wrong_bool or not isinstance(value, _KINDS[name]):
            kinds = " or ".join("null" if kind is type(None) else kind.__name__ for kind in _KINDS[name])
            raise DataError(f"{where}: {name} must be {kinds}; got {value!r}.")


def _check_numbers(record: Mapping[str, Any], where: str) -> None:
    probs = record["probs"]
    if len(probs) < 2:
        raise DataError(f"{where}: probs must hold two labels or more; got {list(probs)!r}.")
    for label, prob in probs.items():
        if not _is_number(prob) or not 0 <= prob <= 1:
            raise DataError(f"{where}: probs[{label!r}] must be a number from 0 to 1; got {prob!r}.")
    if abs(math.fsum(probs.values()) - 1) > SUM_TOLERANCE:
        raise DataError(f"{where}: probs must add up to 1; got {math.fsum(probs.values())!r}.")
    logits = record.get("logits", ())
    if len(logits) not in (0, len(probs)) or not all(_is_number(logit) for logit in logits):
        raise DataError(f"{where}: logits must be {len(probs)} finite numbers, or absent; got {logits!r}.")
    threshold = record.get("threshold")
    if threshold is not None and not 0 <= threshold <= 1:
        raise DataError(f"{where}: threshold must be from 0 to 1, or null; got {threshold!r}.")
    if record.get("num_document_tokens_cut", 0) < 0:
        got = record["num_document_tokens_cut"]
        raise DataError(f"{where}: num_document_tokens_cut must be at least 0; got {got!r}.")


def _check_set(record: Mapping[str, Any], where: str) -> None:
    label_set, labels = record.get("label_set"), list(record["probs"])
    if (label_set is None) != (record.get("abstained") is None):
        raise DataError(f"{where}: label_set and abstained must be given together, or neither.")
    if label_set is None:
        return
    if len(set(map(str, label_set))) != len(label_set) or any(label not in labels for label in label_set):
        raise DataError(f"{where}: label_set must hold some of {labels}, each once; got {label_set!r}.")
    if record["abstained"] != (list(label_set) != [record["decision"]]):
        raise DataError(
            f"{where}: abstained must say whether label_set is other than the decision alone; "
            f"got {record['abstained']!r} with {label_set!r} and {record['decision']!r}."
        )


def _check_explanation(record: Mapping[str, Any], where: str) -> None:
    for name in ("decision", "stated_label", "label"):
        if record.get(name) is not None and record[name] not in record["probs"]:
            raise DataError(f"{where}: {name} must be one of {list(record['probs'])}; got {record[name]!r}.")
    mode = record.get("mode")
    if mode not in (None, "free", "decision"):
        raise DataError(f"{where}: mode must be 'free', 'decision' or null; got {mode!r}.")
    if record.get("explanation") is not None and (mode is None or record.get("has_ended") is None):
        raise DataError(
            f"{where}: mode and has_ended must be given where an explanation is; "
            f"got {mode!r} and {record.get('has_ended')!r}."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
