"""The whole run: every section, and the checks that need two of them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from pydantic import Field, model_validator

from clsgen.config.data import DataSettings
from clsgen.config.model import ModelSettings
from clsgen.config.prediction import CalibrationSettings, EvaluateSettings, PredictSettings
from clsgen.config.section import Section
from clsgen.config.teacher import TeacherSettings
from clsgen.config.training import TrainSettings
from clsgen.types import EMBEDDED

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""A question's name, which is a folder's."""


class RunConfig(Section):
    """Everything a run depends on."""

    output: str = Field("runs/default", description="Run directory; created, never overwritten unless resumed.")
    data: DataSettings = Field(DataSettings(), description="The rows and the task.")
    model: ModelSettings = Field(ModelSettings(), description="The backbone and how it is tuned.")
    train: TrainSettings = Field(TrainSettings(), description="One forward, two losses.")
    teacher: TeacherSettings = Field(
        TeacherSettings(), description="Explanations written by another model: `clsgen synth`."
    )
    calibrate: CalibrationSettings = Field(CalibrationSettings(), description="Calibrator and threshold.")
    predict: PredictSettings = Field(PredictSettings(), description="How predictions are made.")
    evaluate: EvaluateSettings = Field(EvaluateSettings(), description="How predictions are judged.")

    @model_validator(mode="after")
    def _check_combinations(self) -> RunConfig:
        problems = [*self._data_problems(), *self._model_problems(), *self._loss_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _data_problems(self) -> list[str]:
        data, problems = self.data, []
        if (data.task is None) == (data.train is None):
            problems.append("data: set either data.task (built in) or data.train (own file), not both or neither.")
        problems += self._question_problems()
        if data.split.num_folds is not None and data.split.fold >= data.split.num_folds:
            problems.append(f"data.split.fold must be below num_folds ({data.split.num_folds}); got {data.split.fold}.")
        if data.split.validation + data.split.calibration >= 0.8:
            problems.append("data.split: validation + calibration must leave at least 20% of the rows for train.")
        if data.restricted and self.train.report_to:
            problems.append("train.report_to must be empty for restricted data. Remove the trackers.")
        return problems

    def _question_problems(self) -> list[str]:
        data, problems = self.data, []
        if not data.questions:
            return [] if data.question is None else ["data.question must be null without data.questions. Remove it."]
        if data.train is None:
            problems.append("data.questions must go with data.train (own file). Remove data.task, or the questions.")
        odd = [name for name in data.questions if not _NAME.fullmatch(name)]
        if odd:
            problems.append(f"data.questions: names must be letters, digits, - and _; got {odd[0]!r}. Rename it.")
        if data.question is not None and data.question not in data.questions:
            known = ", ".join(data.questions)
            problems.append(f"data.question must be one of {known}; got {data.question!r}. Name one of them, or null.")
        given = {"labels": data.labels, "positive": data.positive, "instruction": data.instruction}
        for name in [name for name, value in given.items() if value is not None]:
            problems.append(f"data.{name} must be null with data.questions. Set it for each question instead.")
        if data.explanations == "teacher" and data.question is None:
            problems.append(
                "data.explanations must not be teacher with several questions. Ask for one at a time (data.question), "
                "and name the exported column in data.questions."
            )
        return problems

    def _model_problems(self) -> list[str]:
        model, problems = self.model, []
        if model.init == "scratch" and model.backbone is not None:
            problems.append("model.backbone must be null with model.init: scratch. Remove one of the two.")
        if model.init == "pretrained" and model.backbone is None:
            problems.append("model.backbone must be embedded, a hub id or a path; or set model.init: scratch.")
        if model.backbone == EMBEDDED and model.revision is not None:
            problems.append(f"model.revision must be null with model.backbone: embedded; got {model.revision!r}.")
        if _is_misspelt(model.backbone):
            problems.append(f"model.backbone: the base of the package is spelt embedded; got {model.backbone!r}.")
        if model.init == "scratch" and model.tuning != "full":
            problems.append(f"model.tuning must be full with model.init: scratch; got {model.tuning!r}.")
        if model.tuning == "activated" and self.train.gradient_checkpointing:
            problems.append(
                "train.gradient_checkpointing must be false with model.tuning: activated, which keeps no graph of the "
                "document. Remove it."
            )
        if model.scratch.width % model.scratch.num_heads:
            problems.append("model.scratch.num_heads must divide model.scratch.width.")
        if model.max_explanation_tokens >= model.max_length_tokens:
            problems.append("model.max_explanation_tokens must be below model.max_length_tokens.")
        return problems

    def _loss_problems(self) -> list[str]:
        model, train, problems = self.model, self.train, []
        if model.tuning == "head_only" and train.explanation_weight > 0:
            problems.append(
                "train.explanation_weight must be 0 with model.tuning: head_only, whose language head is frozen. "
                "Set it to 0, or choose lora or full."
            )
        if train.kl_weight > 0 and (model.tuning == "head_only" or model.init == "scratch"):
            problems.append(
                "train.kl_weight must be 0 with head_only (nothing moves) and init: scratch (no base to stay near)."
            )
        if train.class_loss_weight == 0 and train.explanation_weight == 0:
            problems.append("train.class_loss_weight and train.explanation_weight must not both be 0. Train something.")
        if train.class_loss_weight == 0 and train.monitor in ("class_loss", "auroc", "brier"):
            problems.append(
                f"train.monitor must be loss, explanation_loss or perplexity with train.class_loss_weight: 0; got "
                f"{train.monitor!r}, which the untrained class head has."
            )
        if train.kl_weight > 0 and train.explanation_weight == 0:
            problems.append("train.kl_weight acts at explanation positions; set train.explanation_weight above 0.")
        return problems


def _is_misspelt(backbone: str | None) -> bool:
    """Whether it is almost `embedded`; asked on the hub, it would be looked for in vain."""
    if backbone is None or backbone == EMBEDDED or Path(backbone).exists():
        return False
    return bool(get_close_matches(backbone.lower(), [EMBEDDED], cutoff=0.85))
