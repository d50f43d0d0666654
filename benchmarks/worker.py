"""One side of a benchmark in a process of its own: gets ready, then runs once for every line on standard input.

    python benchmarks/worker.py rows.inference:stock_forward '{"model": "runs/benchmarks/3k", "num_tokens": 256}'

It runs under either environment, ours or the peers', so it imports neither. Each answer is a line of JSON: seconds,
peak memory above what stood there before, and what came out.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve runs until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not get between
    where, settings = sys.argv[1], json.loads(sys.argv[2])
    module, _, name = where.partition(":")
    prepare = getattr(importlib.import_module(module), name)
    run = prepare(**settings)
    run()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measured(run)), file=answers, flush=True)


def measured(run: Any) -> dict[str, Any]:
    """One run."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier runs freed goes back, so that the peak is this one's
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = memory("VmRSS")
    started = time.perf_counter()
    output = run()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_bytes": max(memory("VmHWM") - before, 0), "output": output}


def memory(name: str) -> int:
    """Resident bytes of this process: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ValueError(name)


if __name__ == "__main__":
    main()
