"""How many rows of the rarer class a bias needs: temperature alone against slope and bias, on drawn logits.

    python scripts/calibrator_study.py

The true log-odds of a row are normal; a head gives them times a slope, plus an offset, plus noise. Both calibrators are
fitted by `fit_calibrator` on a few drawn rows, as many as hold the given number of rare ones, and judged on 20,000
others by the excess of their log loss over that of the best line through the head's logits. Prints, for each head, the
mean excess over draws, in thousandths of a nat, and the share of draws in which the bias was better.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from clsgen.evaluation.calibration_line import calibration_line
from clsgen.model.calibration import fit_calibrator

NUM_RARE = (5, 10, 15, 20, 30, 50)
NUM_DRAWS, NUM_JUDGED = 200, 20_000


class Head(NamedTuple):
    """What a head makes of the true log-odds; prevalence is that of the rarer class, about."""

    name: str
    center: float
    slope: float
    offset: float


HEADS = tuple(
    Head(f"{name}, {share}", center, slope, offset)
    for share, center in (("30% positive", -1.0), ("5% positive", -3.7))
    for name, slope, offset in (
        ("calibrated", 1.0, 0.0),
        ("twice too bold", 2.0, 0.0),
        ("offset by 0.5", 1.0, 0.5),
        ("offset by -1", 1.0, -1.0),
        ("barely trained: the prevalence and a hint", 0.05, 0.95 * center),
        ("barely trained, no bias yet", 0.05, 0.0),
    )
)


def draw(rng: np.random.Generator, head: Head, num_rows: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The head's log-odds z and labels."""
    eta = rng.normal(head.center, 1.3, num_rows)
    return head.slope * (eta + rng.normal(0, 0.6, num_rows)) + head.offset, (rng.random(num_rows) < expit(eta)).astype(
        int
    )


def loss(z: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Mean log loss of log-odds."""
    return float(-np.where(y == 1, log_expit(z), log_expit(-z)).mean())


def fitted(
    z: NDArray[np.float64], y: NDArray[np.int64], method: Literal["temperature", "vector"]
) -> tuple[float, float]:
    """Slope and bias on the log-odds."""
    found = fit_calibrator(np.stack([np.zeros_like(z), z], axis=1), y, method=method)
    return found.slopes[1], found.biases[1] - found.biases[0]


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    print(f"{'head':52}" + "".join(f"{number:>18} rare" for number in NUM_RARE))
    for head in HEADS:
        z, y = draw(rng, head, NUM_JUDGED)
        line = calibration_line(expit(z), y)
        best = loss(line.slope * z + line.intercept, y)
        cells = []
        for number in NUM_RARE:
            excess = np.array([one(rng, head, number, z, y) for _ in range(NUM_DRAWS)]) - best
            mean = 1000 * excess.mean(axis=0)
            cells.append(f"{mean[0]:7.1f} {mean[1]:6.1f} {(excess[:, 1] < excess[:, 0]).mean():6.0%}  ")
        print(f"{head.name:52}" + "".join(f"{cell:>23}" for cell in cells), flush=True)


def one(
    rng: np.random.Generator, head: Head, number: int, z: NDArray[np.float64], y: NDArray[np.int64]
) -> tuple[float, float]:
    """Loss of temperature and of slope and bias, fitted on rows of which `number` are rare."""
    own_z, own_y = draw(rng, head, 100 * number)
    end = max(int(np.flatnonzero((own_y == each).cumsum() == number)[0]) + 1 for each in (0, 1))
    losses = []
    for method in ("temperature", "vector"):
        slope, bias = fitted(own_z[:end], own_y[:end], method)  # type: ignore[arg-type]
        losses.append(loss(slope * z + bias, y))
    return losses[0], losses[1]


if __name__ == "__main__":
    main()
