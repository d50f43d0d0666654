"""From the settings to rows in their four roles, whatever the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from clsgen.config.data import DataSettings
from clsgen.data.source import read_examples, source_spec
from clsgen.data.split import Split, check_disjoint, split_roles
from clsgen.errors import ConfigError
from clsgen.types import TaskData, TaskSpec


class LoadedSplit(NamedTuple):
    """The task, its rows in roles, and reason -> number of rows left out on the way."""

    spec: TaskSpec
    split: Split
    dropped: Mapping[str, int]


def load_split(data: DataSettings) -> LoadedSplit:
    """The rows that the settings name, dealt into roles.

    Args:
        data: The settings; `allow_leaks` lets a published split pass whose test rows share components with train.

    Raises:
        ConfigError: Neither or both of a task and an own file are named.
        DataError: The rows can't be read or dealt.
        LeakError: Roles share components, and `allow_leaks` is false.
    """
    if data.task is None:
        task_data = _own_data(data)
    elif data.train is None:
        # The tasks bring their readers and the generator of notes, which own files have no use for.
        from clsgen.tasks.registry import load_task  # noqa: PLC0415

        task_data = load_task(data)
    else:
        raise ConfigError(f"data: task must be null with data.train; got {data.task!r}. Remove one of the two.")
    spec = task_data.spec
    spec = replace(
        spec,
        instruction=spec.instruction if data.instruction is None else data.instruction,
        is_restricted=spec.is_restricted or data.restricted,
    )
    split = split_roles(task_data, data.split)
    check_disjoint(split, allow_leaks=data.allow_leaks)
    return LoadedSplit(spec, split, dict(Counter(task_data.dropped) + Counter(split.dropped)))


def _own_data(data: DataSettings) -> TaskData:
    if data.train is None:
        raise ConfigError("data: train must name a file where no built-in task is set; got None. Set one of the two.")
    train = read_examples(data.train, data.columns, labels=data.labels)
    spec = source_spec(data, train.examples)
    if data.test is None:
        return TaskData(spec, train.examples, dropped=train.dropped)
    test = read_examples(data.test, data.columns, labels=spec.labels, split="test")
    dropped = Counter(train.dropped) + Counter(test.dropped)
    return TaskData(spec, train.examples, test.examples, dict(dropped))
