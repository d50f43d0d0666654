"""Settings of training: optimizer, the two losses, monitors, stopping."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clsgen.config.section import Section


class TrainSettings(Section):
    """One forward, two losses."""

    epochs: float = Field(3.0, gt=0, description="Passes over the train rows.")
    max_steps: int | None = Field(None, ge=1, description="Optimizer steps; overrides epochs; null: off.")
    batch_size: int = Field(8, ge=1, description="Examples a device and forward.")
    gradient_accumulation: int = Field(1, ge=1, description="Forwards an optimizer step.")
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate of the backbone or adapter.")
    head_learning_rate: float | None = Field(
        None, gt=0, description="Peak learning rate of the class head; null: the same as learning_rate."
    )
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="Shape after the warm-up.")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps spent warming up.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay (not on norms, biases).")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient norm is clipped to this.")
    class_loss_weight: float = Field(1.0, ge=0, description="Weight of the class loss; 0: the language head alone.")
    explanation_weight: float = Field(
        1.0, ge=0, description="Weight of the explanation loss against the class loss; 0: class head alone."
    )
    free_share: float = Field(
        0.75, ge=0, le=1, description="Share of rows trained in free mode; the rest in decision mode (drawn a row)."
    )
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = Field(
        "none",
        description="Weights of the classes, by logit adjustment so that logits stay on the natural prior; "
        "a list follows the order of the labels.",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the target spread over all classes.")
    kl_weight: float = Field(
        0.0, ge=0, description="Weight of KL(base || model) at explanation positions, mean per token; 0: off."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Autocast of the forward; auto: bfloat16 where the machine is fast at it."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations in the backward: less memory.")
    fsdp: bool = Field(
        False,
        description="Spread weights, gradients and optimizer state over the processes of the run (FSDP2); it must have "
        "several.",
    )
    seed: int = Field(0, ge=0, description="Seed of initialisation, data order, dropout and mode draws.")
    eval_steps: int | None = Field(
        None, ge=1, description="Steps between evaluations and checkpoints; null: once an epoch."
    )
    monitor: Literal["loss", "class_loss", "explanation_loss", "auroc", "brier", "perplexity"] = Field(
        "class_loss", description="Validation figure that chooses the checkpoint and stops training."
    )
    patience: int | None = Field(
        3, ge=1, description="Evaluations without improvement of monitor before stopping; null: no early stopping."
    )
    num_monitor_explanations: int = Field(
        16, ge=0, description="Validation rows for which an explanation is generated at each evaluation; 0: none."
    )
    num_checkpoints: int = Field(2, ge=1, description="Checkpoints kept, the best one always among them.")
    report_to: tuple[str, ...] = Field((), description="transformers trackers such as tensorboard; (): none.")
    log_steps: int = Field(10, ge=1, description="Steps between logged training losses.")
