"""The run directory: nothing is ever half there."""

from __future__ import annotations

import errno
import getpass
import hashlib
import json
import os
import platform
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clsgen import artifacts
from clsgen.artifacts import (
    check_manifest,
    locked,
    make_folder,
    package_versions,
    recover_folder,
    run_record,
    sha256_of,
    swap_folder,
    write_json_atomic,
    write_manifest,
    write_text_atomic,
)
from clsgen.config.render import example_config
from clsgen.errors import ArtifactError


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ordinary errors sees it."""


def test_text_is_written_as_utf8_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    write_text_atomic(path, "né\n")
    assert path.read_bytes() == b"n\xc3\xa9\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_private_files_are_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_text_atomic(tmp_path / "open", "x")
        write_text_atomic(tmp_path / "closed", "x", is_private=True)
        write_json_atomic(tmp_path / "closed.json", {}, is_private=True)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"open": 0o644, "closed": 0o600, "closed.json": 0o600}


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_text_atomic(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel refuses the 1001st byte
    try:
        with pytest.raises(ArtifactError, match=r"metrics\.json: the file must be writable; File too large"):
            write_text_atomic(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_at_the_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifacts.os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left on device"):
        write_json_atomic(tmp_path / "a.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"absent/a\.txt: the file must be writable; No such file"):
        write_text_atomic(tmp_path / "absent" / "a.txt", "x")


def test_json_is_readable_and_plain(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_atomic(path, {"label": "é", "n": [1, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"label": "é", "n": [1, None]}
    assert "é" in path.read_text(encoding="utf-8")
    for bad in (float("nan"), float("inf"), object()):
        with pytest.raises(ArtifactError, match=r"a\.json: the content must be plain JSON"):
            write_json_atomic(path, {"x": bad})


HOLDER = """
import sys, time
from pathlib import Path
from clsgen.artifacts import locked
with locked(Path(sys.argv[1]), doing="writing"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_file_is_one_process_alone_until_it_ends_or_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ArtifactError, match="lock: another process is predicting. Wait for it, or choose another"):
        locked(path, doing="predicting").__enter__()
    holder.kill()
    holder.communicate()
    for _ in range(2):
        with locked(path, doing="predicting", is_private=True) as handle:
            handle.write(b"ours")
    assert path.read_bytes() == b"ours"
    with locked(tmp_path / "private", doing="predicting", is_private=True):
        assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_sha256_is_the_known_digest(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ArtifactError, match="none: the file must be readable"):
        sha256_of(tmp_path / "none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("b")
    return root


def test_the_manifest_names_every_file(folder: Path) -> None:
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "big").write_text("x")
    write_manifest(folder, skip=["checkpoints"])
    write_manifest(folder, skip=["checkpoints"])  # again: the manifest is no entry of its own
    hashes = json.loads((folder / "manifest.json").read_text())
    assert hashes == {name: hashlib.sha256(name[-5:-4].encode()).hexdigest() for name in ("a.txt", "sub/b.txt")}
    (folder / "checkpoints" / "big").write_text("y")
    check_manifest(folder)


def test_the_manifest_survives_a_move(folder: Path) -> None:
    write_manifest(folder)
    check_manifest(folder.rename(folder.with_name("moved")))


def test_missing_and_altered_files_are_all_named(folder: Path) -> None:
    write_manifest(folder)
    (folder / "a.txt").write_text("changed")
    (folder / "sub" / "b.txt").unlink()
    with pytest.raises(ArtifactError, match=r"got missing: sub/b\.txt; altered: a\.txt\. Copy the folder again"):
        check_manifest(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the manifest must be readable"),
        ("{", "the manifest must be JSON"),
        ("[]", "the manifest must map relative paths"),
        ('{"../a": "x"}', "the manifest must map relative paths"),
        ('{"/a": "x"}', "the manifest must map relative paths"),
        ('{"a": 1}', "the manifest must map relative paths"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ArtifactError, match=message):
        check_manifest(tmp_path)


def make(folder: Path, content: str) -> Path:
    folder.mkdir()
    (folder / "file").write_text(content)
    return folder


def test_swap_puts_the_new_folder_in_place(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    swap_folder(make(tmp_path / "first", "first"), target)
    swap_folder(make(tmp_path / "second", "second"), target)
    assert (target / "file").read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("renames_done", "survivor"), [(0, "old"), (1, "old"), (2, "new")])
def test_a_kill_during_a_swap_leaves_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames_done: int, survivor: str
) -> None:
    target, fresh = make(tmp_path / "checkpoint", "old"), make(tmp_path / "temporary", "new")
    rename, calls = Path.rename, []

    def dying_rename(path: Path, to: Path) -> Path:
        if len(calls) == renames_done:
            raise Killed
        calls.append(path)
        return rename(path, to)

    def dying_rmtree(*_arguments: object, **_keywords: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying_rename)
        patch.setattr(artifacts.shutil, "rmtree", dying_rmtree)
        with pytest.raises(Killed):
            swap_folder(fresh, target)
    recover_folder(target)
    assert (target / "file").read_text() == survivor
    assert not (tmp_path / ".checkpoint.old").exists()
    swap_folder(make(tmp_path / "next", "next"), target)
    assert (target / "file").read_text() == "next"


def test_a_swap_that_fails_keeps_the_old_folder(tmp_path: Path) -> None:
    target = make(tmp_path / "checkpoint", "old")
    with pytest.raises(ArtifactError, match="checkpoint: the folder must be replaceable; No such file"):
        swap_folder(tmp_path / "absent", target)
    assert (target / "file").read_text() == "old"


def test_recovery_that_fails_names_the_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / ".checkpoint.old", "old")

    def denied(_path: Path, _to: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "rename", denied)
    with pytest.raises(ArtifactError, match=r"checkpoint: must be restored from \.checkpoint\.old; Permission denied"):
        recover_folder(tmp_path / "checkpoint")


def test_a_folder_is_made_with_those_above_it_or_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match=r"file/b: the folder must be creatable; .*Choose another path"):
        make_folder(tmp_path / "file" / "b")


def test_recovery_without_a_swap_does_nothing(tmp_path: Path) -> None:
    recover_folder(tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_the_record_holds_what_a_repetition_needs_and_no_machine(tmp_path: Path) -> None:
    record = run_record(example_config(), {"train": "ab" * 32})
    assert set(record) == {"seeds", "data_hashes", "packages", "commit", "python", "platform"}
    assert record["seeds"] == {"train": 0, "split": 0, "data": 0, "evaluate": 0}
    assert record["data_hashes"] == {"train": "ab" * 32}
    assert record["python"] == platform.python_version()
    text = json.dumps(record)
    assert str(Path(__file__).parents[1]) not in text
    assert platform.node() not in text
    if len(getpass.getuser()) > 4:  # shorter names ("root") may stand in ordinary words
        assert getpass.getuser() not in text


def test_the_commit_is_the_checkouts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"ls-files": "artifacts.py", "rev-parse": "c" * 40, "status": ""}
    monkeypatch.setattr(artifacts, "_git", lambda *arguments: answers[arguments[0]])
    assert run_record(example_config(), {})["commit"] == "c" * 40
    monkeypatch.setitem(answers, "status", " M a.py")
    assert run_record(example_config(), {})["commit"] == "c" * 40 + "-dirty"
    monkeypatch.setitem(answers, "ls-files", None)
    assert run_record(example_config(), {})["commit"] is None


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert run_record(example_config(), {})["commit"] is None


def test_versions_are_those_of_the_base_packages() -> None:
    versions = package_versions()
    assert versions["torch"].startswith("2.")
    assert {"clsgen", "transformers", "peft", "pydantic", "numpy"} <= set(versions)
    assert "pytest" not in versions
