"""A server under load beside its own engine offline: throughput, refusals, memory.

    python benchmarks/serving.py

Needs the peers' environment (locust), as run.py does. Writes docs/benchmarks/serving.json and serving.md.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clsgen.artifacts import write_json_atomic, write_text_atomic
from harness import HERE, PEERS, Side, Worker
from models import FOLDER, notes_of, quoting_run
from pages import measured_on, page, table
from run import machine

FIGURES, PAGE = Path("docs/benchmarks/serving.json"), Path("docs/benchmarks/serving.md")
CLIENTS = 64
NUM_RUNS = 3
NUM_CLASSIFIED, NUM_EXPLAINED = 1000, 128
NUM_LONG = 10_000
COMMAND = "python benchmarks/serving.py"


class Load(NamedTuple):
    """What the clients saw."""

    seconds: float
    num_answered: int
    num_refused: int
    num_failed: int
    median_ms: float
    p95_ms: float


class Served(NamedTuple):
    """A running server."""

    url: str
    pid: int

    def resident_bytes(self) -> int:
        """Memory of the server's process."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", text)[1])  # type: ignore[index]


@contextmanager
def server(*options: str) -> Iterator[Served]:
    """`clsgen serve` on the model of the quoting benchmark."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "clsgen", "serve", str(quoting_run()), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        url = next(found[1] for line in process.stdout if (found := re.search(r"Listening on (\S+)", line)))
        yield Served(url, process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        process.stdout.close()


def load(served: Served, path: str, num_requests: int, texts: Path) -> Load:
    """So many requests from 64 clients."""
    environment = {
        **os.environ,
        "LOAD_TEXTS": str(texts.resolve()),
        "LOAD_PATH": path,
        "LOAD_REQUESTS": str(num_requests),
    }
    command = [str(PEERS), "-m", "locust", "-f", str(HERE / "load.py"), "--headless", "--json", "--host", served.url]
    command += ["--users", str(CLIENTS), "--spawn-rate", str(CLIENTS), "--only-summary"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    entries = {each["method"]: each for each in json.loads(done.stdout)}
    posts = entries["POST"]
    refused = entries.get("REFUSED", {"num_requests": 0})["num_requests"]
    times = sorted((float(ms), number) for ms, number in posts["response_times"].items())
    return Load(
        posts["last_request_timestamp"] - posts["start_time"],
        posts["num_requests"] - posts["num_failures"] - refused,
        refused,
        posts["num_failures"],
        quantile(times, 0.5),
        quantile(times, 0.95),
    )


def quantile(times: list[tuple[float, int]], share: float) -> float:
    """Of counted response times."""
    wanted, seen = share * sum(number for _, number in times), 0
    for value, number in times:
        seen += number
        if seen >= wanted:
            return value
    return float("nan")


def throughput(name: str, path: str, num_texts: int, explain: str, texts: Path) -> dict[str, Any]:
    """The server's texts a second over the engine's, in turn."""
    offline = Side("rows.inference:predict", {"model": str(quoting_run()), "num_texts": num_texts, "explain": explain})
    ratios, loads = [], []
    for _ in range(NUM_RUNS):
        with Worker(offline) as worker:
            alone = worker.run()["seconds"]
        with server() as served:
            load(served, path, CLIENTS, texts)  # warm
            found = load(served, path, num_texts, texts)
        assert found.num_answered == num_texts, found
        ratios.append(alone / found.seconds)
        loads.append(found)
        print(name, f"{ratios[-1]:.3f}", found, flush=True)
    middle = sorted(loads)[len(loads) // 2]
    return {
        "row": name,
        "peer": "Classifier.predict of the same texts, offline",
        "measures": f"texts a second, {CLIENTS} clients of one text each; server over engine",
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "bar": 0.9,
        "met": statistics.median(ratios) >= 0.9,
        "figures": middle._asdict(),
        "command": COMMAND,
    }


def refusals(texts: Path) -> dict[str, Any]:
    """A queue that is too short for the clients: 429 and nothing else."""
    with server("--max-queued", "8") as served:
        found = load(served, "/v1/classify", 2000, texts)
    return {
        "row": "full-queue",
        "peer": "--max-queued 8",
        "measures": "requests that failed in another way than by 429",
        "ratio": float(found.num_failed),
        "bar": 0,
        "met": found.num_failed == 0 and found.num_refused > 0,
        "figures": found._asdict(),
        "command": COMMAND,
    }


def memory(texts: Path) -> dict[str, Any]:
    """Resident bytes after 10,000 requests over those of the early ones; of each thousand, 100 ask for a reason.

    The first thousand meets most shapes of a batch for the first time; a single one after it is up to 5% off the next.
    """
    loads, resident = [], []
    with server() as served:
        for _ in range(10):
            loads += [
                load(served, "/v1/classify", NUM_LONG // 10 - 100, texts),
                load(served, "/v1/explain", 100, texts),
            ]
            resident.append(served.resident_bytes())
    num_failed = sum(each.num_failed + each.num_refused for each in loads)
    ratio = resident[-1] / statistics.median(resident[1:4])
    return {
        "row": "memory",
        "peer": "the same server, median after 2,000, 3,000 and 4,000 requests",
        "measures": "resident bytes after 10,000 requests",
        "ratio": ratio,
        "bar": 1.05,
        "met": ratio <= 1.05 and not num_failed,
        "figures": {"megabytes": [round(each / 1e6) for each in resident], "num_failed": num_failed},
        "command": COMMAND,
    }


_COLUMNS = ("row", "held against", "measures", "ratio", "bar", "met", "seen by the clients")


def written(figures: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    about = (
        f"{measured_on(figures['machine'])}; clients (locust), server and engine share the cores.\n"
        "The model is the embedded base trained to quote short generated notes. `python benchmarks/serving.py`\n"
        "measures all of it."
    )
    return page("A server under load", about, table(_COLUMNS, map(_cells, figures["rows"])))


def _cells(row: Mapping[str, Any]) -> list[str]:
    sign = ">=" if row["row"].startswith("serve") else "<="
    seen = ", ".join(
        f"{name} {round(value, 1) if isinstance(value, float) else value}" for name, value in row["figures"].items()
    )
    bar = [f"{row['ratio']:.3g}", f"{sign} {row['bar']:g}", "yes" if row["met"] else "no"]
    return [row["row"], row["peer"], row["measures"], *bar, seen]


def main() -> None:
    """Measure, keep, show."""
    texts = FOLDER / "served.json"
    texts.parent.mkdir(parents=True, exist_ok=True)
    texts.write_text(json.dumps([note.document for note in notes_of("short", 1000)]), encoding="utf-8")
    started = time.monotonic()
    rows = [
        throughput("serve-classify", "/v1/classify", NUM_CLASSIFIED, "none", texts),
        throughput("serve-explain", "/v1/explain", NUM_EXPLAINED, "all", texts),
        refusals(texts),
        memory(texts),
    ]
    figures = {"machine": machine(), "rows": rows}
    write_json_atomic(FIGURES, figures)
    write_text_atomic(PAGE, written(figures))
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
