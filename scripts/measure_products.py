"""Time of a float32 linear layer by PyTorch's own choice, by oneDNN and as clsgen does it, over shapes and rows.

    python scripts/measure_products.py

What `clsgen.model.products` rests on.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import linear

from clsgen.model import products

SHAPES = ((384, 384), (1024, 384), (2816, 1024), (12288, 384))
ROWS = (1, 2, 4, 5, 16, 64, 256, 1024, 4096)
BYTES = 150_000_000
"""Weights that are gone through in turn, so that none waits in the processor's cache."""


def main() -> None:
    """Print milliseconds and their ratio."""
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    print("| weights | rows | PyTorch's choice, ms | oneDNN, ms | clsgen, ms | ratio |\n|---|---|---|---|---|---|")
    onednn = torch.ops.mkldnn._linear_pointwise
    with torch.inference_mode():
        for num_out, num_in in SHAPES:
            count = max(2, BYTES // (4 * num_out * num_in))
            layers = [nn.Linear(num_in, num_out, bias=False) for _ in range(count)]
            weights = itertools.cycle([layer.weight for layer in layers])
            modules = itertools.cycle(layers)
            for num_rows in ROWS:
                inputs = torch.randn(num_rows, num_in)
                stock = fastest(lambda x=inputs, w=weights: linear(x, next(w)))
                other = fastest(lambda x=inputs, w=weights: onednn(x, next(w), None, "none", [], ""))
                ours = fastest(lambda x=inputs, m=modules: products.linear(next(m), x))
                cells = f"{1e3 * stock:.3f} | {1e3 * other:.3f} | {1e3 * ours:.3f} | {stock / ours:.2f}"
                print(f"| {num_out} x {num_in} | {num_rows} | {cells} |", flush=True)


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    work()
    found = []
    for _ in range(30):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main()
