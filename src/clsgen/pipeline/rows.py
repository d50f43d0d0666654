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
from clsgen.types import Example, TaskData, TaskSpec


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
        ConfigError: Neither or both of a task and an own file are named, or several questions and none chosen.
        DataError: The rows can't be read or dealt.
        LeakError: Roles share components, and `allow_leaks` is false.
    """
    if data.questions:
        if data.question is None:
            raise ConfigError(
                f"data.question must name one of {', '.join(data.questions)} here; got null. Set data.question=NAME."
            )
        return load_questions(data)[data.question]
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


def load_questions(data: DataSettings) -> dict[str, LoadedSplit]:
    """Name -> the rows of each of `data.questions`; a text has one role, whatever is asked about it.

    Args:
        data: The settings; `question` is not looked at.

    Raises:
        ConfigError, DataError, LeakError: As for `load_split`.
    """
    found = {name: _own_data(_alone(data, name)) for name in data.questions}
    together = TaskData(
        TaskSpec("questions", tuple(_tag(name, label) for name in found for label in found[name].spec.labels), ""),
        tuple(_tagged(name, row) for name, each in found.items() for row in each.train),
        tuple(_tagged(name, row) for name, each in found.items() for row in each.test),
    )
    split = split_roles(together, data.split)
    check_disjoint(split, allow_leaks=data.allow_leaks)
    return {name: LoadedSplit(replace(each.spec, name=name), *_part(split, name, each)) for name, each in found.items()}


def _alone(data: DataSettings, name: str) -> DataSettings:
    """The settings that one question would have as the only task of its file."""
    asked = data.questions[name]
    columns = data.columns.model_copy(update={"label": asked.label, "explanation": asked.explanation})
    own = {"labels": asked.labels, "positive": asked.positive, "instruction": asked.instruction}
    return data.model_copy(update={"columns": columns, "questions": {}, "question": None, **own})


def _part(split: Split, name: str, data: TaskData) -> tuple[Split, dict[str, int]]:
    """One question's share of the split of all, under its own ids and labels, and what it left out."""
    own = {_tag(name, row.id): row for row in (*data.train, *data.test)}
    roles = {role: tuple(own[row.id] for row in rows if row.id in own) for role, rows in split.roles.items()}
    groups = {own[tagged].id: group for tagged, group in split.groups.items() if tagged in own}
    num_left_out = len(own) - sum(map(len, roles.values()))
    dropped = {"unlabelled": num_left_out} if num_left_out else {}
    return Split(roles, groups, dropped), dict(Counter(data.dropped) + Counter(dropped))


def _tag(name: str, text: str) -> str:
    return f"{name}:{text}"


def _tagged(name: str, row: Example) -> Example:
    return replace(row, id=_tag(name, row.id), label=None if row.label is None else _tag(name, row.label))


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
