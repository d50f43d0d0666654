"""Settings of what follows training: calibration, threshold, prediction, evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from clsgen.config.policy import ABSTENTIONS, THRESHOLDS, parse_rule
from clsgen.config.section import Section


class CalibrationSettings(Section):
    """The calibrator and the threshold; both see calibration rows only."""

    method: Literal["auto", "vector", "temperature", "isotonic", "none"] = Field(
        "auto",
        description="auto: vector (Platt for two classes), temperature alone when the rarest class has under 20 rows "
        "(two classes) or 50 (more).",
    )
    threshold: str = Field(
        "max_f1",
        description="Two classes: how the threshold is chosen on the calibration rows. max_f1; half: 0.5; youden: most "
        "sensitivity + specificity; sensitivity=0.9, specificity=0.9 or ppv=0.5: at least so much, and the most of the "
        "rest; cost=10: a missed positive is worth 10 false alarms; alerts=50: at most so many per 1,000 rows; knee: "
        "nearest to the best of sensitivity, PPV and few alerts at once.",
    )
    abstain: str = Field(
        "none",
        description="Which rows are left undecided. none; band=0.1: within so much of the threshold (more classes: of "
        "the largest probability); conformal=0.9: the set of labels that holds the true one so often is not the "
        "decided label alone; conformal_by_class=0.9: the same promise in each class.",
    )

    @field_validator("threshold")
    @classmethod
    def _known_threshold(cls, value: str) -> str:
        parse_rule(value, THRESHOLDS)
        return value

    @field_validator("abstain")
    @classmethod
    def _known_abstention(cls, value: str) -> str:
        parse_rule(value, ABSTENTIONS)
        return value


class PredictSettings(Section):
    """How `eval`, `calibrate`, `tune` and `compare` ask the model; `predict` and `serve` have options of their own."""

    engine: Literal["auto", "plain"] = Field(
        "auto",
        description="auto: rows are read without padding where the backbone's architecture is known, else as plain "
        "does; plain: padded batches through the stock forward, the readable reference.",
    )
    batch_tokens: int | None = Field(
        None, ge=64, description="Prompt tokens a forward, padding included; null: 4096 on a processor, 16384 on a GPU."
    )
    explain: Literal["none", "all", "uncertain", "positive"] = Field(
        "all", description="For which rows an explanation is written."
    )
    mode: Literal["free", "decision"] = Field("free", description="Explanation mode; alignment needs free.")
    no_repeat_ngram: int | None = Field(
        None,
        ge=2,
        description="Explanations write no run of so many tokens twice, which keeps small models out of loops; stored "
        "in the model; null: plain greedy decoding.",
    )
    uncertain_margin: float = Field(
        0.1, gt=0, le=0.5, description="explain: uncertain takes rows whose probability is this near the threshold."
    )


class EvaluateSettings(Section):
    """How predictions are judged."""

    num_bootstrap: int = Field(1000, ge=100, description="Cluster-bootstrap draws of each interval.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Coverage of the intervals.")
    num_bins: int = Field(15, ge=2, description="Equal-mass bins of the ECE.")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")
    figures: tuple[str, ...] | None = Field(
        None, description="Figures of the probability and the decision that are wanted, by name; null: all."
    )
