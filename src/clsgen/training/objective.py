"""What is minimised, and under which Trainer arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations, get_reporting_integration_callbacks

from clsgen.config.training import TrainSettings
from clsgen.errors import ConfigError
from clsgen.model.products import is_fast_bfloat16


@dataclass(frozen=True, slots=True)
class Objective:
    """Weights of the terms.

    Attributes:
        class_loss_weight: Of the class loss.
        explanation_weight: Of the explanation loss.
        kl_weight: Of KL(base || model) at explanation positions.
        class_weights: (C,) normalised, None: all 1.
        label_smoothing: Share of the class target spread over all classes.
        head_learning_rate: Peak learning rate of the class head.
        spans: Columns of the head that answer each question, (first, one after the last); None: all answer one.
    """

    class_loss_weight: float
    explanation_weight: float
    kl_weight: float
    class_weights: tuple[float, ...] | None
    label_smoothing: float
    head_learning_rate: float
    spans: tuple[tuple[int, int], ...] | None = None


def objective_of(
    settings: TrainSettings,
    class_weights: tuple[float, ...] | None,
    spans: tuple[tuple[int, int], ...] | None = None,
) -> Objective:
    """The objective of a run; class weights are derived from its train rows by the caller."""
    return Objective(
        class_loss_weight=settings.class_loss_weight,
        explanation_weight=settings.explanation_weight,
        kl_weight=settings.kl_weight,
        class_weights=class_weights,
        label_smoothing=settings.label_smoothing,
        head_learning_rate=(
            settings.learning_rate if settings.head_learning_rate is None else settings.head_learning_rate
        ),
        spans=spans,
    )


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that the Trainer does not know or whose package is missing, before anything is trained.

    Raises:
        ConfigError: An unknown name, or one that is not installed.
    """
    try:
        get_reporting_integration_callbacks(list(names))
    except ValueError as error:
        raise ConfigError(f"train.report_to must name trackers of transformers; got {list(names)!r}. {error}") from None
    missing = sorted(set(names) - set(get_available_reporting_integrations()))
    if missing:
        raise ConfigError(
            f"train.report_to must name installed trackers; {missing} is not. Install it "
            "(tensorboard: pip install 'clsgen[track]'), or remove it."
        )


def is_bfloat16(settings: TrainSettings) -> bool:
    """Whether the forward runs under bfloat16 autocast; auto asks the machine."""
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    return is_fast_bfloat16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def training_arguments(settings: TrainSettings, output: Path, *, has_validation: bool) -> TrainingArguments:
    """The Trainer's arguments for these settings.

    Args:
        settings: Training settings.
        output: Folder of the checkpoints.
        has_validation: Whether there are validation rows; without them the last checkpoint is kept.
    """
    strategy = "epoch" if settings.eval_steps is None else "steps"
    steps = (
        {} if settings.eval_steps is None else {"eval_steps": settings.eval_steps, "save_steps": settings.eval_steps}
    )
    return TrainingArguments(
        output_dir=str(output),
        num_train_epochs=settings.epochs,
        max_steps=-1 if settings.max_steps is None else settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule),
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=is_bfloat16(settings),
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
        data_seed=settings.seed,
        eval_strategy=strategy if has_validation else "no",
        save_strategy=strategy,
        save_total_limit=settings.num_checkpoints,
        load_best_model_at_end=has_validation,
        metric_for_best_model=f"eval_{settings.monitor}" if has_validation else None,
        greater_is_better=settings.monitor == "auroc",
        logging_steps=settings.log_steps,
        logging_nan_inf_filter=False,
        restore_callback_states_from_checkpoint=True,  # the early-stopping counter goes on where it stood
        report_to=list(settings.report_to) or "none",
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        **steps,
    )
