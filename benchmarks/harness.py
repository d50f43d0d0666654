"""Runs the sides of a row in turn, each in a process of its own, and compares their medians."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = Path(os.environ.get("CLSGEN_PEERS_PYTHON", HERE / ".venv" / "bin" / "python"))
"""Interpreter of the environment that benchmarks/peers.txt is installed in."""

MEMORY_SETTINGS = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
"""Of both sides where memory is measured: what is freed goes back at once, so that the peak is of what is in use."""


@dataclass(frozen=True)
class Side:
    """A function of a module in rows/ that makes what is run. is_peer: under the peers' environment."""

    where: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_peer: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: Of the row.
        peer_name: What clsgen is held against.
        ours: The side of clsgen.
        peer: The other side.
        bar: What the ratio must reach; None: it is shown only.
        is_speedup: Whether the ratio is peer / clsgen, at least the bar; else clsgen / peer, at most the bar.
        is_memory: Whether peaks of memory are compared instead of seconds.
        limit: The best that the ratio could be, from the peer's seconds and what its run gave back; the bar is a share
            of it. None: the bar is the ratio itself.
    """

    name: str
    peer_name: str
    ours: Side
    peer: Side
    bar: float | None
    is_speedup: bool = True
    is_memory: bool = False
    limit: Callable[[float, Mapping[str, float]], float] | None = None


@dataclass(frozen=True)
class Growth:
    """A figure of clsgen alone: what its run gives back as `figure`, at most the bar."""

    name: str
    what: str
    side: Side
    bar: float | None


def measure_growth(row: Growth) -> dict[str, Any]:
    """Run it once."""
    with Worker(row.side) as worker:
        found = worker.run()["output"]
    return {
        "row": row.name,
        "peer": row.what,
        "measures": "growth",
        "direction": "at most",
        "ratio": found["figure"],
        "ratios": [found["figure"]],
        "bar": row.bar,
        "met": None if row.bar is None else found["figure"] <= row.bar,
        "figures": found,
        "difference": None,
        "command": f"python benchmarks/run.py --rows {row.name}",
    }


def measure(row: Row, *, num_runs: int) -> dict[str, Any]:
    """Alternate the two sides.

    Returns:
        row, peer, ratio (median of the ratios of neighbouring runs), ratios, bar, met, the medians of seconds and peak
        memory of both, and the largest difference of what they gave back.
    """
    settings = MEMORY_SETTINGS if row.is_memory else {}
    with Worker(row.ours, settings) as ours, Worker(row.peer, settings) as peer:
        pairs = [(ours.run(), peer.run()) for _ in range(num_runs)]
    key = "peak_bytes" if row.is_memory else "seconds"
    ratios = [theirs[key] / mine[key] if row.is_speedup else mine[key] / theirs[key] for mine, theirs in pairs]
    ratio = statistics.median(ratios)
    bar = row.bar
    if bar is not None and row.limit is not None:
        limit = statistics.median(row.limit(theirs["seconds"], theirs["output"]) for _, theirs in pairs)
        bar = bar * limit
    met = None if bar is None else (ratio >= bar if row.is_speedup else ratio <= bar)
    sides = {
        side: {name: statistics.median(pair[at][name] for pair in pairs) for name in ("seconds", "peak_bytes")}
        for at, side in enumerate(("clsgen", "peer"))
    }
    return {
        "row": row.name,
        "peer": row.peer_name,
        "measures": "peak memory" if row.is_memory else "time",
        "direction": "peer / clsgen" if row.is_speedup else "clsgen / peer",
        "ratio": ratio,
        "ratios": ratios,
        "bar": bar,
        "met": met,
        "medians": sides,
        "difference": difference(pairs[0][0]["output"], pairs[0][1]["output"]),
        "command": f"python benchmarks/run.py --rows {row.name} --runs {num_runs}",
    }


class Worker:
    """A side's process."""

    def __init__(self, side: Side, settings: Mapping[str, str] | None = None) -> None:
        interpreter = str(PEERS) if side.is_peer else sys.executable
        paths = [str(HERE)] if side.is_peer else [str(HERE), str(HERE.parent / "src"), str(HERE.parent / "scripts")]
        self._process = subprocess.Popen(
            [interpreter, str(HERE / "worker.py"), side.where, json.dumps(dict(side.settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                **(settings or {}),
                "PYTHONPATH": os.pathsep.join(paths),
                "HF_HUB_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
            },
        )
        self._answer()

    def run(self) -> dict[str, Any]:
        """One run of it."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with code {self._process.wait()}; what it said stands above")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def difference(ours: Any, theirs: Any) -> float | str | None:
    """Largest difference of two lists of numbers; "same text" or the share of texts that differ; None: not compared."""
    if not (isinstance(ours, list) and isinstance(theirs, list)):
        return None
    if all(isinstance(each, str) for each in (*ours, *theirs)):
        num_other = sum(a != b for a, b in zip(ours, theirs, strict=True))
        return "same text" if num_other == 0 else f"{num_other} of {len(ours)} texts differ"
    return max(abs(a - b) for a, b in zip(flat(ours), flat(theirs), strict=True))


def flat(values: Any) -> Sequence[float]:
    """Numbers of a nested list."""
    if isinstance(values, list):
        return [number for value in values for number in flat(value)]
    return [float(values)]
