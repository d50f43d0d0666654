"""A run's configuration: from a YAML file and `section.key=value` overrides, and back to a file.

Relative paths in a configuration are taken from the current directory, not from the file's folder, so that a file
may be copied beside its run and still mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clsgen.config import yaml12
from clsgen.config.problems import validate
from clsgen.config.run import RunConfig
from clsgen.errors import ConfigError


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """The validated configuration of a run.

    Args:
        path: A YAML 1.2 file; None starts from the defaults.
        overrides: `section.key=value`, later ones win; the value is read as YAML 1.2, so `train.learning_rate=1e-4`
            is a number, `data.labels=[no, yes]` two texts, and nothing after `=` is null.

    Raises:
        ConfigError: The file can't be read or is not YAML, or settings are unknown, out of bounds or don't go
            together; the message lists every problem at once.
    """
    where = "overrides" if path is None else str(path)
    data = {} if path is None else read_settings(path)
    problems = [problem for override in overrides if (problem := _apply(data, override)) is not None]
    return _checked(where, data, problems)


def config_of(data: Mapping[str, Any], *, where: str) -> RunConfig:
    """The validated configuration that nested settings describe.

    Args:
        data: Section -> setting -> value, JSON values; what is left out has its default.
        where: Names the origin in messages.

    Raises:
        ConfigError: As for `load_config`.
    """
    return _checked(where, data, [])


def _checked(where: str, data: Mapping[str, Any], problems: list[str]) -> RunConfig:
    result = validate(data)
    if isinstance(result, RunConfig) and not problems:
        return result
    if not isinstance(result, RunConfig):
        problems = [*problems, *(problem.message for problem in result)]
    raise ConfigError(_joined(where, problems))


def save_config(config: RunConfig, path: Path) -> None:
    """Write every setting of a resolved configuration, so that `load_config(path)` gives it back.

    Raises:
        ConfigError: The file can't be written.
    """
    try:
        path.write_text(yaml12.dump(config.model_dump(mode="json")), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: the configuration must be writable; {error.strerror}. Choose another path."
        ) from error


def read_settings(path: Path) -> dict[str, Any]:
    """The nested settings of a file as they stand, not validated.

    Raises:
        ConfigError: The file can't be read, is not YAML, or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: the file must be UTF-8; {error.reason} at byte {error.start}. Save it so."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: the configuration must be a readable file; {error.strerror}. `clsgen init` writes one."
        ) from error
    data = yaml12.load(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise ConfigError(f"{path}: the file must be a mapping of sections; got a {kind}. See `clsgen init`.")
    return data


def _apply(data: dict[str, Any], override: str) -> str | None:
    """Put one override into `data`, in place; the problem that prevents it, else None."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        return f"an override must be section.key=value; got {override!r}. Write it like train.learning_rate=1e-4."
    try:
        value = yaml12.load(text, f"override {key.strip()}")
    except ConfigError as error:
        return str(error)
    section = data
    for depth, part in enumerate(parts[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
        if not isinstance(section[part], dict):
            at = ".".join(parts[:depth])
            return (
                f"override {key.strip()}: {at} must be a mapping of settings; got {section[part]!r}. Correct the key."
            )
        section = section[part]
    section[parts[-1]] = value
    return None


def _joined(where: str, problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return f"{where}: {problems[0]}"
    return "\n".join([f"{where}: {len(problems)} settings must be corrected:", *(f"  - {line}" for line in problems)])
