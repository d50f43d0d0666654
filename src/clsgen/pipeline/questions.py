"""Several questions in one run: a run directory each below the run's own, and one model trained for all of them.

While it trains, the questions' heads stand side by side as the columns of one; afterwards each is a model directory
like any other, with the same language model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from clsgen.config.run import RunConfig
from clsgen.data.batch import UNLABELLED, EncodedExample
from clsgen.inference.panel import FOLDER
from clsgen.model.backbone import base_of
from clsgen.model.decoder import can_read
from clsgen.model.dual import DualModel
from clsgen.model.head import ClassHead
from clsgen.pipeline.monitor import monitor
from clsgen.pipeline.prepare import Prepared, prepare_model
from clsgen.training.trainer import OnEvaluate


class Task(NamedTuple):
    """What a trainer is given.

    Attributes:
        model: Both heads; the class head has the columns of all questions.
        train: Encoded train rows, labels as columns of that head.
        validation: The same of the validation rows.
        spans: First column and the one after the last of each question; None: there is one question.
        class_weights: One a column; None where all are 1.
        on_evaluate: What is watched.
    """

    model: DualModel
    train: Sequence[EncodedExample]
    validation: Sequence[EncodedExample]
    spans: tuple[tuple[int, int], ...] | None
    class_weights: tuple[float, ...] | None
    on_evaluate: OnEvaluate


def is_joint(config: RunConfig) -> bool:
    """Whether the run asks several questions."""
    return bool(config.data.questions) and config.data.question is None


def part_configs(config: RunConfig) -> dict[str, RunConfig]:
    """Each question's own run, below the run's directory."""
    return {
        name: config.model_copy(
            update={
                "output": str(Path(config.output) / FOLDER / name),
                "data": config.data.model_copy(update={"question": name}),
            }
        )
        for name in config.data.questions
    }


def task_of(config: RunConfig, parts: Mapping[str, Prepared]) -> Task:
    """What the trainer is given: the questions side by side, or the only one as it is.

    Args:
        config: The run.
        parts: What was prepared for each question; their models share the language model.
    """
    prepared = list(parts.values())
    watched = [_watched(config, each) for each in prepared]
    if len(prepared) == 1:
        (only,) = prepared
        only.built.model.is_packed = _is_packed(config, only.built.model)
        return Task(only.built.model, only.train.rows, only.validation.rows, None, only.class_weights, watched[0])
    sizes = [each.spec.num_labels for each in prepared]
    ends = torch.tensor(sizes).cumsum(0).tolist()
    spans = tuple((end - size, end) for end, size in zip(ends, sizes, strict=True))
    first = prepared[0].built.model
    head = ClassHead(first.head.weight.shape[1], ends[-1])
    model = DualModel(first.language_model, head, tuning=first.tuning, starts_at=first.starts_at)
    model.is_packed = _is_packed(config, model)
    prepare_model(config, model)
    return Task(
        model,
        [_shifted(row, start) for (start, _), each in zip(spans, prepared, strict=True) for row in each.train.rows],
        [
            _shifted(row, start)
            for (start, _), each in zip(spans, prepared, strict=True)
            for row in each.validation.rows
        ],
        spans,
        _weights(prepared),
        _watched_together(dict(zip(parts, watched, strict=True)), spans),
    )


def hand_out(task: Task, parts: Mapping[str, Prepared]) -> None:
    """Give each question's head its columns of the trained one."""
    if task.spans is None:
        return
    with torch.no_grad():
        for (start, end), each in zip(task.spans, parts.values(), strict=True):
            each.built.model.head.weight.copy_(task.model.head.weight[start:end])


def link_same_files(folders: Sequence[Path]) -> None:
    """Let model directories share the files that are the same in all of them, so that the disk holds them once."""
    first, *others = folders
    kept: dict[str, str] = json.loads((first / "manifest.json").read_text(encoding="utf-8"))
    for other in others:
        found: dict[str, str] = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
        for name in [name for name, digest in found.items() if kept.get(name) == digest]:
            spare = other / f".{name}.link"
            try:
                os.link(first / name, spare)
            except OSError:  # a file system without hard links
                return
            spare.replace(other / name)


def _watched(config: RunConfig, prepared: Prepared) -> OnEvaluate:
    is_writing = prepared.has_explanations and not config.train.fsdp  # spread weights answer in all processes or none
    return monitor(
        prepared.built.renderer,
        prepared.split.roles["validation"],
        pad_id=prepared.built.pad_id,
        num_explanations=config.train.num_monitor_explanations if is_writing else 0,
    )


def _watched_together(watched: Mapping[str, OnEvaluate], spans: Sequence[tuple[int, int]]) -> OnEvaluate:
    """Each figure's mean over the questions that have it, and auroc and brier of each."""

    def on_evaluate(model: DualModel, class_logits_NC: Tensor, labels_N: Tensor) -> Mapping[str, float]:
        found: dict[str, list[float]] = {}
        single: dict[str, float] = {}
        for (name, watch), (start, end) in zip(watched.items(), spans, strict=True):
            is_own_N = (labels_N >= start) & (labels_N < end)
            for figure, value in watch(model, class_logits_NC[is_own_N, start:end], labels_N[is_own_N] - start).items():
                found.setdefault(figure, []).append(value)
                if figure in ("auroc", "brier"):
                    single[f"{figure}_{name}"] = value
        return {figure: sum(values) / len(values) for figure, values in found.items()} | single

    return on_evaluate


def _is_packed(config: RunConfig, model: DualModel) -> bool:
    """On a CPU alone: a GPU is served better by one padded batch than by a product a row."""
    if config.train.gradient_checkpointing or config.train.fsdp or torch.cuda.is_available():
        return False
    is_packed = not base_of(model.language_model).config.attention_dropout and can_read(model.language_model.eval())
    return bool(is_packed)


def _shifted(row: EncodedExample, start: int) -> EncodedExample:
    return row if row.label == UNLABELLED else row._replace(label=row.label + start)


def _weights(prepared: Sequence[Prepared]) -> tuple[float, ...] | None:
    if all(each.class_weights is None for each in prepared):
        return None
    return tuple(weight for each in prepared for weight in each.class_weights or (1.0,) * each.spec.num_labels)
