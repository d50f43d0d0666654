"""Built-in tasks by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from clsgen.config.data import DataSettings
from clsgen.errors import ConfigError
from clsgen.tasks import clinifact, esnli, evidence_inference, lcd, pubmedqa, synthetic
from clsgen.types import TaskData


class _Task(NamedTuple):
    load: Callable[[DataSettings], TaskData]
    variants: tuple[str, ...] = ()


_TASKS: Mapping[str, _Task] = MappingProxyType(
    {
        "clinifact": _Task(clinifact.load, clinifact.VARIANTS),
        "evidence_inference": _Task(evidence_inference.load),
        "pubmedqa": _Task(pubmedqa.load),
        "esnli": _Task(esnli.load),
        "lcd": _Task(lcd.load, lcd.VARIANTS),
        "synthetic-notes": _Task(synthetic.load),
    }
)
TASK_NAMES: tuple[str, ...] = tuple(_TASKS)

_OWN_DATA_FIELDS = ("test", "columns", "labels", "positive")
_GENERATOR_FIELDS = ("num_rows", "length", "prevalence", "seed")


def load_task(settings: DataSettings) -> TaskData:
    """The rows of a built-in task as its source publishes them.

    `instruction` and `restricted` of the settings are left to the caller, who applies them to own data too.

    Args:
        settings: `task` names the task, `variant` its variant; `root` is where its files are looked for: in a folder
            of the task's name (or as its publisher lays them out) or in the root itself; None: $CLSGEN_SHARED/data,
            else ../shared/data.

    Returns:
        The task, its train rows (validation and calibration not yet carved) and its test rows.

    Raises:
        ConfigError: An unknown task or variant (the message names the nearest), or settings that the task does not
            read and that would be ignored.
        DataError: Files that are missing or can't be read; the message says which, and where they are looked for.
    """
    if settings.task is None or settings.task not in _TASKS:
        raise ConfigError(_unknown("data.task", settings.task, TASK_NAMES))
    task = _TASKS[settings.task]
    if settings.variant is not None and settings.variant not in task.variants:
        raise ConfigError(_unknown(f"task {settings.task}: data.variant", settings.variant, task.variants))
    _refuse_unread(settings)
    return task.load(settings)


def _refuse_unread(settings: DataSettings) -> None:
    unread = _OWN_DATA_FIELDS + (("root",) if settings.task == "synthetic-notes" else _GENERATOR_FIELDS)
    defaults = DataSettings()
    changed = [name for name in unread if getattr(settings, name) != getattr(defaults, name)]
    if changed:
        raise ConfigError(
            f"task {settings.task}: {', '.join(f'data.{name}' for name in changed)} must be left at the default, "
            f"as the task does not read it; got {[getattr(settings, name) for name in changed]!r}. Remove it."
        )


def _unknown(where: str, value: str | None, known: Sequence[str]) -> str:
    if not known:
        return f"{where} must be null, as the task has no variants; got {value!r}. Remove it."
    nearest = difflib.get_close_matches(value or "", known, n=1, cutoff=0.0)
    hint = f" Did you mean {nearest[0]!r}?" if value and nearest else " Choose one."
    return f"{where} must be one of {', '.join(known)}; got {value!r}.{hint}"
