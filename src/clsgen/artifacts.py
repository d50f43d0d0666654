"""The run directory: writes that are whole or absent, by one process at a time, swapped folders, hashes, the record."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from packaging.requirements import Requirement

from clsgen.config.run import RunConfig
from clsgen.errors import ArtifactError

MANIFEST = "manifest.json"
_KEPT_BESIDE = ".gitattributes"
_FOLDERS_KEPT_BESIDE = (".git/", ".cache/huggingface/")


def make_folder(path: Path) -> None:
    """Make the folder and those above it; one that is there already is left as it is.

    Raises:
        ArtifactError: A file is in the way, or the rights are missing.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{path}: the folder must be creatable; {error.strerror}. Choose another path.") from error


def write_text_atomic(path: Path, text: str, *, is_private: bool = False) -> None:
    """Put `text` into `path` (UTF-8); a reader, or a kill, at any moment finds the old file or the new one.

    Args:
        path: The file; its folder must exist.
        text: The whole content.
        is_private: Readable by the owner alone (0600), for files that hold texts.

    Raises:
        ArtifactError: The disk is full or the folder can't be written; the old file is untouched.
    """
    write_bytes_atomic(path, text.encode("utf-8"), is_private=is_private)


def write_bytes_atomic(path: Path, content: bytes, *, is_private: bool = False) -> None:
    """Put `content` into `path`; see `write_text_atomic`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_private else 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ArtifactError(
            f"{path}: the file must be writable; {error.strerror}. What stood there before is untouched; "
            "free some space or choose another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json_atomic(path: Path, obj: Any, *, is_private: bool = False) -> None:
    """Put `obj` into `path` as indented JSON; see `write_text_atomic`.

    Raises:
        ArtifactError: As there, and where `obj` holds NaN, an infinity, or what JSON has no word for.
    """
    try:
        text = json.dumps(obj, ensure_ascii=False, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path}: the content must be plain JSON; {error}. Write null for what is absent."
        ) from error
    write_text_atomic(path, text + "\n", is_private=is_private)


@contextlib.contextmanager
def locked(path: Path, *, doing: str, is_private: bool = False) -> Iterator[BinaryIO]:
    """A file, made where there is none, that is this process's alone; the end of a process, killed or not, frees it.

    Args:
        path: The file; its folder is made.
        doing: What another process that holds it does, for the message: "writing these predictions".
        is_private: A new file is readable by the owner alone (0600).

    Raises:
        ArtifactError: Another process holds it.
        OSError: It can't be opened, or its file system has no locks.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600 if is_private else 0o644)
    with os.fdopen(descriptor, "r+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(f"{path}: another process is {doing}. Wait for it, or choose another output.") from None
        yield handle


def read_record(file: Path) -> dict[str, Any]:
    """The JSON object in a file of a model or run directory.

    Raises:
        ArtifactError: Missing or broken.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file.name} of {file.parent} must be readable JSON; {error}. Restore it.") from error
    if not isinstance(record, dict):
        raise ArtifactError(f"{file.name} of {file.parent} must hold a JSON object. Restore it.")
    return record


def require_model(folder: Path) -> None:
    """Refuse what is no model directory.

    Raises:
        ArtifactError: There is no clsgen.json.
    """
    if not (folder / "clsgen.json").is_file():
        raise ArtifactError(
            f"{folder} must be a clsgen model directory (clsgen.json); it is not. Give run/model, or "
            "run/questions/NAME of a run that asks several questions."
        )


def model_record(folder: Path) -> dict[str, Any]:
    """What clsgen.json of a model directory says.

    Raises:
        ArtifactError: This is no model directory, or the file is broken.
    """
    require_model(folder)
    return read_record(folder / "clsgen.json")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content.

    Raises:
        ArtifactError: The file can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: the file must be readable; {error.strerror}. Restore it.") from error


def write_manifest(folder: Path, *, skip: Collection[str] = ()) -> None:
    """Write `manifest.json`: each file below `folder`, as a relative path, with its SHA-256.

    Args:
        folder: A folder that is complete.
        skip: Names right below `folder` that are left out, such as "checkpoints".

    Raises:
        ArtifactError: A file can't be read, or the manifest can't be written.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder) for path in files]
    kept = [name for name in names if name.parts[0] not in skip and name != Path(MANIFEST)]
    write_json_atomic(folder / MANIFEST, {name.as_posix(): sha256_of(folder / name) for name in kept})


class Difference(NamedTuple):
    """Where a folder differs from its manifest: relative paths, sorted.

    Attributes:
        missing: Files that the manifest names and the folder lacks.
        altered: Files whose hash is another.
        extra: Files that the manifest does not name.
    """

    missing: tuple[str, ...]
    altered: tuple[str, ...]
    extra: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(f"{word}: {', '.join(names)}" for word, names in self._asdict().items() if names)


def compare_manifest(folder: Path) -> Difference:
    """Every file of `folder` beside its manifest; nothing is written.

    What version control and the hub's client keep beside the files (`.git`, `.gitattributes`, `.cache/huggingface`)
    is not counted as extra.

    Raises:
        ArtifactError: There is no readable manifest, or a file can't be read.
    """
    hashes = read_manifest(folder)
    missing = sorted(name for name in hashes if not (folder / name).is_file())
    present = sorted(hashes.keys() - set(missing))
    altered = [name for name in present if sha256_of(folder / name) != hashes[name]]
    found = sorted(path.relative_to(folder).as_posix() for path in files_below(folder))
    known = {*hashes, MANIFEST, _KEPT_BESIDE}
    extra = [name for name in found if name not in known and not name.startswith(_FOLDERS_KEPT_BESIDE)]
    return Difference(tuple(missing), tuple(altered), tuple(extra))


def files_below(folder: Path) -> list[Path]:
    """Every file, link and other entry that is no folder, at any depth."""
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def check_manifest(folder: Path) -> None:
    """Compare the files of `folder` with its manifest; files that it doesn't name are not looked at.

    Raises:
        ArtifactError: There is no readable manifest, or files are missing or altered; all of them are named.
    """
    found = compare_manifest(folder)._replace(extra=())
    if found.altered or found.missing:
        raise ArtifactError(f"{folder}: the files must be those of {MANIFEST}; got {found}. Copy the folder again.")


def read_manifest(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256, as the folder's manifest has them.

    Raises:
        ArtifactError: There is none, or it is no such mapping.
    """
    path = folder / MANIFEST
    try:
        hashes = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(
            f"{path}: the manifest must be readable; {error.strerror}. Copy the folder again."
        ) from error
    except ValueError as error:
        raise ArtifactError(f"{path}: the manifest must be JSON; {error}. Copy the folder again.") from error
    if not isinstance(hashes, dict) or not all(
        isinstance(value, str) and _is_inside(key) for key, value in hashes.items()
    ):
        raise ArtifactError(f"{path}: the manifest must map relative paths to hashes. Copy the folder again.")
    return hashes


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def swap_folder(temporary: Path, target: Path) -> None:
    """Move the finished folder `temporary` to `target`; a kill at any moment leaves the old or the new one whole.

    After a kill, `recover_folder(target)` puts right what was left half way. Both must lie on one file system.

    Raises:
        ArtifactError: A folder can't be moved; the old one stands at `target` then.
    """
    recover_folder(target)
    aside = _aside(target)
    try:
        if target.exists():
            target.rename(aside)
        temporary.rename(target)
    except OSError as error:
        recover_folder(target)
        raise ArtifactError(
            f"{target}: the folder must be replaceable; {error.strerror}. What stood there before is untouched."
        ) from error
    shutil.rmtree(aside, ignore_errors=True)  # a leftover is removed by the next swap or recovery


def recover_folder(target: Path) -> None:
    """Finish or undo a `swap_folder(..., target)` that was killed: the old folder comes back unless the new one is in.

    Raises:
        ArtifactError: The old folder can't be moved back.
    """
    aside = _aside(target)
    if not aside.exists():
        return
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        return
    try:
        aside.rename(target)
    except OSError as error:
        raise ArtifactError(f"{target}: must be restored from {aside.name}; {error.strerror}. Rename it.") from error


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def package_versions() -> dict[str, str]:
    """Installed version of clsgen and of each package that it requires without extras, sorted by name."""
    requirements = [Requirement(line) for line in importlib.metadata.requires("clsgen") or []]
    names = ["clsgen", *(r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""}))]
    versions: dict[str, str] = {}
    for name in sorted(names, key=str.lower):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def run_record(config: RunConfig, data_hashes: Mapping[str, str]) -> dict[str, Any]:
    """What a run must say to be repeated, and nothing of whose machine it ran on.

    Args:
        config: The resolved configuration, saved beside this record.
        data_hashes: A name for each input (its role or file name, no absolute path) -> SHA-256.

    Returns:
        JSON values: seeds, data_hashes, packages, commit (of clsgen's own source; None outside a checkout),
        python, platform.
    """
    assert not any(PurePath(name).is_absolute() for name in data_hashes), "name inputs without their folder"
    return {
        "seeds": {
            "train": config.train.seed,
            "split": config.data.split.seed,
            "data": config.data.seed,
            "evaluate": config.evaluate.seed,
        },
        "data_hashes": dict(data_hashes),
        "packages": package_versions(),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _commit() -> str | None:
    """Commit of the checkout that clsgen runs from, `-dirty` with changed files; None where git doesn't track it."""
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    head = _git("rev-parse", "HEAD")
    if tracked is None or head is None:
        return None
    return f"{head}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else head


def _git(*arguments: str) -> str | None:
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
