"""What a run that stopped has left: whose it is, one process at a time, and how its rows are written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from clsgen.artifacts import write_json_atomic
from clsgen.data.predictions import to_record
from clsgen.errors import ArtifactError, ConfigError
from clsgen.model.calibrator import Calibrator
from clsgen.types import Explain, ExplanationMode, Prediction, TaskSpec

WINDOW = 256
"""Rows that are planned, predicted and written together; a killed run repeats at most these."""

WRITING = "writing these predictions"
"""What a process does that holds them."""


class Wanted(NamedTuple):
    """What is to be given of each row.

    Attributes:
        explain: For which rows a reason is written.
        mode: Explanation mode.
        prior: Prevalence of each label where the rows come from; None: that of the calibration rows.
    """

    explain: Explain = "none"
    mode: ExplanationMode = "free"
    prior: tuple[float, ...] | None = None

    @classmethod
    def of(cls, explain: Explain, mode: ExplanationMode, prior: Sequence[float] | None) -> Wanted:
        """The same from any sequence of priors."""
        return cls(explain, mode, None if prior is None else tuple(prior))


def check_wanted(wanted: Wanted, *, spec: TaskSpec, has_explanations: bool, calibrator: Calibrator) -> None:
    """Refuse what doesn't suit a model, before any text is read.

    Args:
        wanted: What is to be given.
        spec: The model's task.
        has_explanations: Whether its language head was trained to explain.
        calibrator: Its calibrator.

    Raises:
        ConfigError: An unknown value, an explanation of a model that was trained without, "positive" with more than
            two classes, or a prior that is none.
        CalibrationError: A prior for a model that saw no calibration row.
    """
    known = (("explain", wanted.explain, get_args(Explain)), ("mode", wanted.mode, get_args(ExplanationMode)))
    for name, value, names in known:
        if value not in names:
            raise ConfigError(f"predict: {name} must be one of {', '.join(names)}; got {value!r}.")
    if wanted.explain != "none" and not has_explanations:
        raise ConfigError(
            "predict: explain must be none for a model whose language head was not trained to explain. "
            "Train with explanations (data.explanations, train.explanation_weight above 0)."
        )
    if wanted.explain == "positive" and spec.positive is None:
        raise ConfigError("predict: explain: positive needs two classes. Use all or uncertain.")
    prior = None if wanted.prior is None else list(wanted.prior)
    calibrator.probs(np.empty((0, spec.num_labels)), prior=prior)


def seal_of(wanted: Wanted, *, model_hash: str, rows_hash: str, margin: float) -> dict[str, object]:
    """What must be equal for a run to go on where another one stopped; the margin where it chooses the rows."""
    prior = None if wanted.prior is None else list(wanted.prior)
    seal = {"explain": wanted.explain, "mode": wanted.mode, "prior": prior, "model": model_hash, "rows": rows_hash}
    return seal | ({"margin": margin} if wanted.explain == "uncertain" else {})


def check_seal(path: Path, seal: Mapping[str, object], *, is_private: bool) -> bool:
    """Whether there is something to go on with; where there is not, it is sealed now.

    Raises:
        ArtifactError: It is of another model, input or setting.
    """
    if not path.exists():
        write_json_atomic(path, dict(seal), is_private=is_private)
        return False
    if json.loads(path.read_text(encoding="utf-8")) != seal:
        raise ArtifactError(
            f"{path}: a partial result of another input, model or setting is in the way. "
            "Finish that run, or delete it (and its .partial) and run again."
        )
    return True


@contextmanager
def keeping(output: Path, kept: Path) -> Iterator[None]:
    """Within it, what the system refuses is an error that says what is left.

    Args:
        output: What is to be written.
        kept: Where finished rows stand.

    Raises:
        ArtifactError: A full disk, missing rights, a file system without locks.
    """
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"{output}: predictions must be written; {error}. What was done is kept in {kept.name}: "
            "mend it and run the same command again."
        ) from error


def with_groups(predictions: Sequence[Prediction], groups: Mapping[str, str] | None) -> list[Prediction]:
    """Predictions with their row's group, where it is known."""
    return [replace(each, group=None if groups is None else groups.get(each.id)) for each in predictions]


def json_lines(predictions: Sequence[Prediction]) -> list[bytes]:
    """A line each, with its end."""
    return [json.dumps(to_record(each), ensure_ascii=False).encode() + b"\n" for each in predictions]
