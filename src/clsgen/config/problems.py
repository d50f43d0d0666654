"""What is wrong with a configuration, every problem at once, in the words of the settings and not of pydantic."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from clsgen.config.fields import Setting, settings
from clsgen.config.run import RunConfig


class Problem(NamedTuple):
    """One thing to correct.

    Attributes:
        message: The sentence for the user.
        paths: The settings it is about, the one meant by a misspelt key included.
    """

    message: str
    paths: frozenset[str]


def validate(data: Mapping[str, Any]) -> RunConfig | list[Problem]:
    """The configuration that `data` describes, or everything that is wrong with it.

    The combinations of settings are checked even where single settings are wrong: those are left at their defaults
    for it, and what it then finds about them is not reported.

    Args:
        data: Section -> setting -> value, as the YAML loader gives it; a section may be null (all defaults).
    """
    config, errors = _parse(data)
    if config is not None:
        return config
    problems = _field_problems(errors, data)
    if not problems:
        return _combination_problems(errors)
    faulty = frozenset().union(*(problem.paths for problem in problems))
    _, later_errors = _parse(_without(data, faulty))
    return problems + [found for found in _combination_problems(later_errors) if not _is_about(found.message, faulty)]


def _parse(data: Mapping[str, Any]) -> tuple[RunConfig | None, list[ErrorDetails]]:
    """Through JSON, because pydantic's strict mode takes lists for tuples there: no text is read as a number."""
    try:
        return RunConfig.model_validate_json(json.dumps(_without_null_sections(data)), strict=True), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _without_null_sections(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A copy where a section with every line commented out (null) is left to its defaults."""
    kept: dict[str, Any] = {}
    for key, value in data.items():
        setting = settings().get(f"{prefix}{key}")
        if setting is not None and setting.is_section and value is None:
            continue
        is_open = setting is not None and setting.is_section and isinstance(value, Mapping)
        kept[str(key)] = _without_null_sections(value, f"{prefix}{key}.") if is_open else value
    return kept


def _field_problems(errors: list[ErrorDetails], data: Mapping[str, Any]) -> list[Problem]:
    """One problem a setting: pydantic reports each arm of a union and each item of a list apart."""
    problems: dict[str, Problem] = {}
    for error in errors:
        if not error["loc"]:
            continue
        if error["type"] == "extra_forbidden":
            path = ".".join(str(part) for part in error["loc"])
            problems[path] = _unknown(path)
        else:
            setting = _setting_at(error["loc"])
            problems.setdefault(setting.path, _wrong_value(setting, _value_at(data, setting.path)))
    return list(problems.values())


def _combination_problems(errors: list[ErrorDetails]) -> list[Problem]:
    return [
        Problem(line, frozenset())
        for error in errors
        if not error["loc"]
        for line in str(error["ctx"]["error"]).splitlines()
    ]


def _wrong_value(setting: Setting, value: Any) -> Problem:
    items = value if isinstance(value, list) else [value]
    if setting.accepts_text and any(not isinstance(item, (str, list, dict)) for item in items):
        advice = "Put a text such as 1, true or null in quotes."
    elif setting.is_section:
        advice = "Indent its settings below it."
    elif setting.rule == "true or false":
        advice = "Write true or false: YAML 1.2 reads yes, no, on and off as text."
    else:
        advice = f"The default is {json.dumps(setting.default)}."
    return Problem(f"{setting.path} must be {setting.rule}; got {value!r}. {advice}", frozenset({setting.path}))


def _unknown(path: str) -> Problem:
    parent, _, name = path.rpartition(".")
    nearest = nearest_path(path)
    if path in settings():
        advice = f"Write {name!r} indented below its section, without the dot."
    elif nearest is not None:
        advice = f"Did you mean {nearest}?"
    else:
        known = ", ".join(setting.name for setting in settings().values() if setting.parent == parent)
        advice = f"Known here: {known}."
    name = path.rpartition(".")[2]
    return Problem(
        f"{path} must be a known setting; got the key {name!r}. {advice}", frozenset({path, nearest or path})
    )


def nearest_path(path: str) -> str | None:
    """The setting that an unknown key most likely means: of its own section first, then of any.

    >>> nearest_path("train.lerning_rate"), nearest_path("learning_rate"), nearest_path("train.xyz")
    ('train.learning_rate', 'train.learning_rate', None)
    """
    parent, _, name = path.rpartition(".")
    siblings = {setting.name: setting.path for setting in settings().values() if setting.parent == parent}
    everywhere = {setting.name: setting.path for setting in reversed(settings().values())}
    for known in (siblings, everywhere):
        matches = difflib.get_close_matches(name, known, n=1)
        if matches:
            return known[matches[0]]
    return None


def _setting_at(location: tuple[int | str, ...]) -> Setting:
    """The setting that a pydantic location lies in, without list positions and arms of unions."""
    for end in range(len(location), 0, -1):
        path = ".".join(str(part) for part in location[:end])
        if path in settings():
            return settings()[path]
    raise AssertionError(f"a location outside the settings: {location}")


def _value_at(data: Any, path: str) -> Any:
    for key in path.split("."):
        data = data[key]
    return data


def _without(data: Mapping[str, Any], faulty: frozenset[str], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(value, faulty, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in data.items()
        if f"{prefix}{key}" not in faulty
    }


def _is_about(message: str, faulty: frozenset[str]) -> bool:
    """Whether a combination's sentence names a faulty setting, or opens with its section."""
    return any(path in message or message.startswith(f"{path.rpartition('.')[0]}:") for path in faulty)
