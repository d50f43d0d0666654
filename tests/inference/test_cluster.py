"""Ray for real: the command in a process of its own, workers and drivers killed, disks that fill up, no network."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiny
from clsgen.model.checkpoint import save_bundle

pytest.importorskip("ray", reason="needs the extra: pip install 'clsgen[ray]'")
pytestmark = pytest.mark.slow

NUM_ROWS = 2900  # three blocks, the last one shorter

# As root in a container, or with user namespaces: a file system and a network of its own.
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
LOOPBACK = (
    "import fcntl, socket, struct; s = socket.socket(); "
    "fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x41))"  # SIOCSIFFLAGS: up and running
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, rows, and what one process predicts for them."""
    folder = tmp_path_factory.mktemp("ray")
    save_bundle(tiny.bundle_of(tiny.dual(tiny.save("llama", folder / "base"), room=24)), folder / "model")
    rows = [{"id": r.id, "text": r.document, "label": r.label} for r in tiny.examples(NUM_ROWS)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "in").mkdir()
    for number in range(2):
        pq.write_table(pa.Table.from_pylist(rows[number::2]), folder / "in" / f"{number}.parquet")
    subprocess.run([*command(folder), "-o", str(folder / "local.jsonl")], check=True, env=environment(folder))
    return folder


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short path, for Ray's sockets; nothing is left in it by a run that ended by itself."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def command(folder: Path, *options: str, source: str = "in.jsonl", before: str = "") -> list[str]:
    code = f"{before}\nimport clsgen.cli.main as m, sys; sys.argv[0] = 'clsgen'; m.main()"
    given = ["predict", str(folder / source), "-m", str(folder / "model"), "--id", "id", "--explain", "all"]
    return [sys.executable, "-c", code, *given, *options]


def ray_command(folder: Path, output: Path, before: str = "", source: str = "in.jsonl") -> list[str]:
    options = ("--engine", "ray", "--workers", "2", "-o", str(output))
    return command(folder, *options, before=before, source=source)


def environment(temporary: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "COLUMNS": "300"}


def workers_of(driver: int) -> list[int]:
    """Processes of Ray's workers below a driver."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid = int(status.parent.name)
            parents[pid] = int(status.read_text().rpartition(")")[2].split()[1])
            names[pid] = (status.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it has ended

    def is_below(pid: int) -> bool:
        return pid == driver or (pid in parents and is_below(parents[pid]))

    return [pid for pid, name in names.items() if "BlockWorker" in name and name.startswith("ray::") and is_below(pid)]


def wait_for(what: Callable[[], object], process: subprocess.Popen[str], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, f"ended before: {process.communicate()}"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@contextmanager
def started(arguments: list[str], temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive its test, should that fail."""
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=environment(temporary), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def blocks_in(output: Path) -> list[Path]:
    return list(output.with_name(output.name + ".partial").glob("block-*"))


def test_a_killed_worker_is_replaced_and_every_row_is_there_once(place: Path, tmp_path: Path, temporary: Path) -> None:
    output = tmp_path / "out.jsonl"
    with started(ray_command(place, output), temporary) as process:
        wait_for(lambda: blocks_in(output), process)
        killed = workers_of(process.pid)
        assert killed
        assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in (process.pid, *killed)} == {os.getpriority(0, 0)}
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        assert len(blocks_in(output)) < 3, "all was done before the kill"
        out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, "")
    assert out == f"{NUM_ROWS} rows -> {output}\n"
    assert output.read_bytes() == (place / "local.jsonl").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert not list(temporary.iterdir())


def test_a_killed_driver_goes_on_with_what_is_not_finished(place: Path, tmp_path: Path, temporary: Path) -> None:
    output = tmp_path / "out.parquet"
    with started(ray_command(place, output), temporary) as process:
        wait_for(lambda: blocks_in(output), process)
        process.kill()
        process.communicate()
    finished = {path: path.stat().st_mtime_ns for path in blocks_in(output)}
    assert 0 < len(finished) < 3
    assert not output.exists()
    done = subprocess.run(
        ray_command(place, output), env=environment(temporary), capture_output=True, text=True, check=True
    )
    assert "found done" in done.stdout
    found = pq.read_table(output).to_pylist()
    assert [row.pop("text_hash") for row in found]
    assert found == [json.loads(line) for line in (place / "local.jsonl").read_text().splitlines()]
    assert not output.with_name("out.parquet.partial").exists()


def test_workers_that_die_again_and_again_end_it(place: Path, tmp_path: Path, temporary: Path) -> None:
    output = tmp_path / "out.jsonl"
    killed: set[int] = set()
    before = "import clsgen.inference.cluster as c; c._LIVES = 1"
    with started(ray_command(place, output, before=before), temporary) as process:
        while process.poll() is None:
            for worker in workers_of(process.pid):
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
            time.sleep(0.05)
        out, err = process.communicate()
    assert len(killed) > 1
    assert process.returncode == 2, (out, err)
    assert "predict: workers must live through a block of rows; got" in err
    assert "Traceback" not in err


def needs_unshare() -> None:
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a namespace of its own: root, or kernel.unprivileged_userns_clone=1")


def test_shards_in_and_out_without_a_network(place: Path, tmp_path: Path, temporary: Path) -> None:
    """Nothing but loopback, up for Ray's own processes: no look-up, no report, no dashboard."""
    needs_unshare()
    output = tmp_path / "out"
    arguments = [*UNSHARE, *ray_command(place, output, before=LOOPBACK, source="in")]
    done = subprocess.run(arguments, env=environment(temporary), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    expected = {row["id"]: row for row in map(json.loads, (place / "local.jsonl").read_text().splitlines())}
    found = pq.read_table(output).to_pylist()
    assert [row["id"] for row in found] == [f"row-{i}" for i in (*range(0, NUM_ROWS, 2), *range(1, NUM_ROWS, 2))]
    for row in found:  # other batches may move it so far
        assert row["probs"] == pytest.approx(expected[row["id"]]["probs"], abs=1e-5)


def test_a_full_and_a_read_only_disk(place: Path, tmp_path: Path, temporary: Path) -> None:
    """A file system with room for one block, which is then enlarged; and one that can't be written."""
    needs_unshare()
    disk = tmp_path / "disk"
    disk.mkdir()
    output = disk / "out.jsonl"
    size = (place / "local.jsonl").stat().st_size
    predict = shlex.join(ray_command(place, output, before=LOOPBACK))
    script = f"""
        mount -t tmpfs -o size={size // 2 // 4096 * 4096} none {disk} || exit 90
        {predict}; echo "first: $?"
        ls -A {disk} {disk}/out.jsonl.partial; echo "listed"
        mount -o remount,size=200m {disk}
        {predict}; echo "second: $?"
        cp {output} {tmp_path}/copy.jsonl
        mount -o remount,ro {disk}
        {predict.replace("out.jsonl", "new.jsonl")}; echo "third: $?"
    """
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", script], env=environment(temporary), capture_output=True, text=True, check=False
    )
    assert "first: 2\n" in done.stdout, done
    assert "second: 0\n" in done.stdout, done
    assert "third: 2\n" in done.stdout, done
    full, read_only = done.stderr.strip().splitlines()
    assert "No space left on device" in full
    assert "free some space or choose another folder" in full
    assert "Read-only file system" in read_only
    listed = done.stdout.partition("first: 2\n")[2].partition("listed")[0]
    assert ".tmp" not in listed
    assert "out.jsonl\n" not in listed.replace("out.jsonl.partial", "")
    assert (tmp_path / "copy.jsonl").read_bytes() == (place / "local.jsonl").read_bytes()
