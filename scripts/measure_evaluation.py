"""Time and memory of `clsgen eval` on a table of generated probabilities.

    python scripts/measure_evaluation.py 100000 --bootstrap 2000 --figures auroc,auprc,brier,log_loss,ece,f1
    python scripts/measure_evaluation.py 100000 --bootstrap 2000
    python scripts/measure_evaluation.py 10000000

Rows stand in groups, 2 or 3 rows each. Prints wall seconds and peak memory of the command's process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet


def main() -> None:
    """Generate, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("num_rows", type=int)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--figures", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "scores.parquet"
        write(source, arguments.num_rows)
        command = [sys.executable, "-m", "clsgen", "eval", str(source), "--prob", "p", "--label", "y", "--group", "g"]
        command += [] if arguments.figures is None else ["--figures", arguments.figures]
        started = time.monotonic()
        subprocess.run([*command, "-o", folder, "--bootstrap", str(arguments.bootstrap)], check=True)
        seconds = time.monotonic() - started
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{arguments.num_rows} rows, {arguments.bootstrap} draws: {seconds:.1f} s, {peak_gb:.2f} GB at most")


def write(path: Path, num_rows: int) -> None:
    """Calibrated probabilities, labels drawn from them, and groups of about 2.5 rows."""
    rng = np.random.default_rng(0)
    prob = rng.beta(1, 3, num_rows)
    label = (rng.random(num_rows) < prob).astype(int)
    group = np.char.add("g", rng.integers(0, int(num_rows * 0.4), num_rows).astype(str))
    pyarrow.parquet.write_table(pyarrow.table({"p": prob, "y": label, "g": group}), path)


if __name__ == "__main__":
    main()
