"""Where a built-in task's files lie, and reading cells of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clsgen.errors import DataError


class FoundFiles(NamedTuple):
    """Which of a task's file layouts is there, and in which folder."""

    layout: str
    folder: Path


def data_root(root: str | None) -> Path:
    """The folder of the built-in tasks: the given one, else $CLSGEN_SHARED/data, else ../shared/data."""
    if root is not None:
        return Path(root)
    shared = os.environ.get("CLSGEN_SHARED")
    return (Path(shared) if shared else Path("..") / "shared") / "data"


def find_layout(
    task: str, root: str | None, *, layouts: Mapping[str, tuple[str, ...]], subfolders: Sequence[str]
) -> FoundFiles:
    """The first layout all of whose files lie together.

    Args:
        task: Name of the task, for the message.
        root: `data.root`; None as in `data_root`.
        layouts: Layout -> its files, in order of preference.
        subfolders: Folders under the root to look in, in order; the root itself comes last.

    Raises:
        DataError: No layout is complete; the message says which files of which are missing, and where they would be.
    """
    base = data_root(root)
    folders = [*(base / name for name in subfolders), base]
    for layout, names in layouts.items():
        for folder in folders:
            if all((folder / name).is_file() for name in names):
                return FoundFiles(layout, folder)
    num_there, layout, folder = max(
        (
            (sum((folder / name).is_file() for name in names), layout, folder)
            for layout, names in layouts.items()
            for folder in folders
        ),
        key=lambda found: found[0],
    )
    names = layouts[layout]
    missing = [name for name in names if not (folder / name).is_file()]
    found = f"{folder} without {', '.join(missing)}" if num_there else "none of them"
    raise DataError(
        f"task {task}: data.root must hold {' or '.join(', '.join(names) for names in layouts.values())}; got {found}. "
        f"Looked in {', '.join(map(str, folders))}. Set data.root, or $CLSGEN_SHARED to the folder that holds data/."
    )


def cell(row: Mapping[str, Any], name: str, where: str) -> str:
    """The text in a column, stripped; "" for null.

    Raises:
        DataError: The row has no such column.
    """
    if name not in row:
        raise DataError(
            f"{where}: column {name!r} must be there; got {sorted(row)!r}. Check that it is the task's file."
        )
    return "" if row[name] is None else str(row[name]).strip()


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        DataError: It is not JSON; the message quotes no text.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise DataError(f"{path}: file must be JSON in UTF-8; got {reason!r}. Check that it is whole.") from error


def known_label(label: str, labels: Sequence[str], where: str) -> str:
    """The label (or another coded value), if it is one that the source has.

    Raises:
        DataError: It is another.
    """
    if label not in labels:
        raise DataError(f"{where}: label must be one of {list(labels)!r}; got {label!r}. Correct the row.")
    return label
