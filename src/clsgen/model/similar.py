"""What became of the calibration rows that were given a like probability; kept with the model as counts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from clsgen.errors import ArtifactError

STEPS = 100
"""Centres are 0, 1/100, ..., 1."""


class Similar(NamedTuple):
    """Calibration rows within a window of probabilities.

    Attributes:
        num_rows: Rows in the window.
        num_with_label: Those whose label is the one asked about.
        low: Lower end of the 95% interval of its share; None without rows.
        high: Upper end.
    """

    num_rows: int
    num_with_label: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class SimilarRows:
    """Windows of every label, one around each hundredth.

    Attributes:
        half_width: Of a window, in probability.
        windows: Label -> 101 of them, by their centre.
    """

    half_width: float
    windows: Mapping[str, tuple[Similar, ...]]

    def around(self, label: str, probability: float) -> Similar:
        """Rows whose probability of a label is near the one given, to the nearest hundredth.

        Args:
            label: One of the task's.
            probability: Its probability, in [0, 1].
        """
        return self.windows[label][centre_of(probability)]

    def bounds(self, probability: float) -> tuple[float, float]:
        """From which probability to which these rows were taken."""
        centre = centre_of(probability) / STEPS
        low, high = max(0.0, centre - self.half_width), min(1.0, centre + self.half_width)
        return round(low, 9), round(high, 9)  # 0.46, not 0.45999999999999996

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "windows": {label: list(map(list, each)) for label, each in self.windows.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SimilarRows:
        """What `to_json` wrote.

        Raises:
            ArtifactError: Another shape, or counts that contradict themselves.
        """
        try:
            windows = {label: tuple(Similar(*each) for each in found) for label, found in values["windows"].items()}
            half_width = float(values["half_width"])
            is_sound = all(
                len(found) == STEPS + 1 and all(0 <= each.num_with_label <= each.num_rows for each in found)
                for found in windows.values()
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"similar.json must hold half_width and windows; {error!r}. Calibrate again."
            ) from error
        if not is_sound:
            raise ArtifactError(f"similar.json must hold {STEPS + 1} windows a label. Calibrate again.")
        return cls(half_width, windows)


def centre_of(probability: float) -> int:
    """The nearest centre.

    >>> centre_of(0.734)
    73
    """
    return round(probability * STEPS)
