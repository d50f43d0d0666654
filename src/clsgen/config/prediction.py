"""Settings of what follows training: calibration, threshold, prediction, evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clsgen.config.section import Section


class CalibrationSettings(Section):
    """The calibrator and the threshold; both see calibration rows only."""

    method: Literal["auto", "vector", "temperature", "isotonic", "none"] = Field(
        "auto",
        description="auto: vector (Platt for two classes), temperature alone when the rarest class has under 50 rows.",
    )
    threshold: Literal["max_f1", "half"] = Field(
        "max_f1", description="Two classes: how the threshold is chosen on the calibration rows; half: 0.5."
    )


class PredictSettings(Section):
    """How predictions are made."""

    batch_tokens: int = Field(16384, ge=64, description="Prompt tokens a forward, padding included.")
    explain: Literal["none", "all", "uncertain", "positive"] = Field(
        "all", description="For which rows an explanation is written."
    )
    mode: Literal["free", "decision"] = Field("free", description="Explanation mode; alignment needs free.")
    uncertain_margin: float = Field(
        0.1, gt=0, le=0.5, description="explain: uncertain takes rows whose probability is this near the threshold."
    )


class EvaluateSettings(Section):
    """How predictions are judged."""

    num_bootstrap: int = Field(1000, ge=100, description="Cluster-bootstrap draws of each interval.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Coverage of the intervals.")
    num_bins: int = Field(15, ge=2, description="Equal-mass bins of the ECE.")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")
