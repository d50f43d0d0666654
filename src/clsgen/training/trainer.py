"""A transformers.Trainer with two losses. B examples, C classes, N supervised positions, V vocabulary."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_callback import ExportableState

from clsgen.data.batch import UNLABELLED, EncodedExample, collate, document_of, plan_batches
from clsgen.errors import ArtifactError, ClsgenError, HardwareError, TrainingError
from clsgen.model.backbone import check_tensors
from clsgen.model.dual import DualModel, DualOutput
from clsgen.model.losses import LossSum, class_loss_by_question, kl_to_base
from clsgen.training.checkpoints import begin, check_best, seal, unwritten
from clsgen.training.objective import Objective
from clsgen.training.ranks import first, gathered, num_ranks, rank, together
from clsgen.training.sampler import LengthGroupedSampler
from clsgen.training.sharding import (
    Whole,
    load_optimizer_state,
    load_whole,
    put_away,
    shard,
    spread_like,
    whole,
    whole_optimizer_state,
)
from clsgen.training.validation import LOSSES, Read, mean_losses

WEIGHTS_FILE = "model.safetensors"

OnEvaluate = Callable[[DualModel, Tensor, Tensor], Mapping[str, float]]
"""(model, class_logits_NC, labels_N of labelled validation rows) -> more figures to log."""


class DualTrainer(Trainer):
    """Trains a `DualModel`; checkpoints, resume, tracking and mixed precision are the Trainer's own.

    Each term of the loss is a sum over the optimizer step divided by its own denominator, gathered over micro-batches
    and ranks before the first backward: labelled rows for the class loss, explanation tokens for the others.
    """

    loss_is_scaled_for_ga = True
    optimizer: Any
    control: Any

    def __init__(
        self,
        model: DualModel,
        args: TrainingArguments,
        *,
        train_rows: Sequence[EncodedExample],
        validation_rows: Sequence[EncodedExample],
        objective: Objective,
        pad_id: int,
        on_evaluate: OnEvaluate | None = None,
        is_sharded: bool = False,
        **trainer_arguments: Any,
    ) -> None:
        if args.n_gpu > 1:
            raise HardwareError(
                f"train: {args.n_gpu} GPUs must each have a process of their own (DataParallel changes the loss). "
                "Start with `clsgen train ... --launch accelerate`, or set CUDA_VISIBLE_DEVICES to one."
            )
        self._is_textless = not objective.explanation_weight and not objective.kl_weight
        args.ddp_find_unused_parameters = self._is_textless  # an output layer of its own then has no gradient
        super().__init__(
            model=model,
            args=args,
            train_dataset=[*train_rows, _blank(train_rows)] if num_ranks() > 1 else list(train_rows),
            eval_dataset=list(validation_rows),
            data_collator=lambda rows: collate(rows, pad_id=pad_id)._asdict(),
            **trainer_arguments,
        )
        self._is_sharded = is_sharded
        if is_sharded:
            shard(self.model)
            self.is_distributed_loading_by_transformers = True  # the Trainer then leaves the weights as they are spread
        self._num_kept = args.save_total_limit
        args.save_total_limit = None  # old checkpoints go when the new one is sealed, which the Trainer knows not of
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self._objective = objective
        self._on_evaluate = on_evaluate
        self._pad_id = pad_id
        self._since_log: dict[str, float] = {}
        self._logged_at: int | None = None

    # ---- loss ----

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """Micro-batches of one optimizer step with their denominators (labelled rows, explanation tokens)."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        counts_2 = torch.zeros(2, dtype=torch.long, device=device)
        for batch in batches:
            counts_2[0] += (batch["labels_B"] != UNLABELLED).sum().to(device)
            counts_2[1] += len(batch["target_N"])
        return batches, self.accelerator.reduce(counts_2, reduction="sum")

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective's share of one micro-batch, already divided by the whole step's denominators."""
        assert isinstance(num_items_in_batch, Tensor)
        if self._is_textless:
            inputs = {name: tensor for name, tensor in inputs.items() if name != "target_N"}
            inputs |= {name: tensor[:0] for name, tensor in inputs.items() if name.startswith("target_")}
        output: DualOutput = model(
            **{name: tensor for name, tensor in inputs.items() if name != "labels_B"},
            with_base=self._objective.kl_weight > 0,
        )
        if self._logged_at is None:
            self._logged_at = self.state.global_step  # not 0 in a resumed run
        rows, tokens = num_items_in_batch.tolist()
        terms = self._terms(output, inputs)
        loss = torch.zeros((), device=output.class_logits_BC.device)
        for name, (term, weight) in terms.items():
            denominator = rows if name == "class_loss" else tokens
            share = term.total / max(denominator, 1)
            self._since_log[name] = self._since_log.get(name, 0.0) + float(share.detach())
            loss = loss + weight * share
        if not torch.isfinite(loss):
            raise TrainingError(
                f"train: the loss at step {self.state.global_step + 1} must be finite; got "
                + ", ".join(f"{name}={float(term.total.detach()):g}" for name, (term, _) in terms.items())
                + ". Lower train.learning_rate, or set train.precision to float32."
            )
        # DDP averages gradients over ranks; the denominators already cover all of them.
        loss = loss * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def _terms(self, output: DualOutput, inputs: Mapping[str, Tensor]) -> dict[str, tuple[LossSum, float]]:
        objective = self._objective
        weights = objective.class_weights
        classes = class_loss_by_question(
            output.class_logits_BC,
            inputs["labels_B"],
            self._spans(output),
            class_weights_C=None if weights is None else torch.tensor(weights, device=output.class_logits_BC.device),
            label_smoothing=objective.label_smoothing,
        )
        terms = {"class_loss": (classes, objective.class_loss_weight)}
        if objective.explanation_weight > 0:
            assert output.token_loss is not None
            terms["explanation_loss"] = (output.token_loss, objective.explanation_weight)
        if output.base_logits_NV is not None and output.token_logits_NV is not None:
            terms["kl"] = (kl_to_base(output.base_logits_NV, output.token_logits_NV), objective.kl_weight)
        return terms

    def _spans(self, output: DualOutput) -> Sequence[tuple[int, int]]:
        return self._objective.spans or [(0, output.class_logits_BC.shape[1])]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the terms of the loss, mean per step since the last log."""
        if "loss" in logs and self._since_log:
            steps = max(1, self.state.global_step - (self._logged_at or 0))
            shares = gathered(self._since_log)
            names = dict.fromkeys(name for share in shares for name in share)
            totals = {name: sum(share.get(name, 0.0) for share in shares) for name in names}
            logs = {**logs, **{name: total / steps for name, total in totals.items()}}
            self._since_log = {}
            self._logged_at = self.state.global_step
        super().log(logs, start_time)

    # ---- data order and optimizer ----

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows: list[EncodedExample] = self.train_dataset if train_dataset is None else train_dataset
        if num_ranks() > 1:
            rows = rows[:-1]
        return LengthGroupedSampler(
            [row.num_tokens for row in rows],
            batch_size=self._train_batch_size,
            seed=self.args.seed,
            documents=None if self._objective.spans is None else [document_of(row) for row in rows],
            num_blank=-len(rows) % (self._train_batch_size * num_ranks()) if num_ranks() > 1 else 0,
        )

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW; the class head has a learning rate of its own, norms and biases no decay."""
        if self.optimizer is None:
            factory, arguments = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            decayed = set(self.get_decay_parameter_names(self.model))
            groups: dict[tuple[bool, bool], list[Tensor]] = {}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((name in decayed, name.startswith("head.")), []).append(parameter)
            self.optimizer = factory(
                [
                    {
                        "params": parameters,
                        "weight_decay": self.args.weight_decay if is_decayed else 0.0,
                        "lr": self._objective.head_learning_rate if is_head else self.args.learning_rate,
                    }
                    for (is_decayed, is_head), parameters in sorted(groups.items())
                ],
                **arguments,
            )
        return self.optimizer

    # ---- evaluation ----

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Both losses on the validation rows, and what `on_evaluate` adds; no vocabulary logits are kept."""
        rows: list[EncodedExample] = self.eval_dataset if eval_dataset is None else eval_dataset
        self.model.eval()
        plans = plan_batches(
            [row.num_tokens for row in rows], batch_tokens=max(2048, max(row.num_tokens for row in rows))
        )
        read = {number: self._read([rows[row] for row in plans[number]]) for number in self._own(len(plans))}
        read = {number: part for share in gathered(read) for number, part in share.items()}
        parts = [read[number] for number in range(len(plans))]  # in one order, whoever read them
        totals = {name: (sum(p.totals[name] for p in parts), sum(p.counts[name] for p in parts)) for name in LOSSES}
        figures = mean_losses(totals, self._objective)
        on_evaluate = self._on_evaluate
        if on_evaluate is not None:
            labels_N = torch.cat([part.labels_B for part in parts])
            is_labelled = labels_N != UNLABELLED
            logits_NC = torch.cat([part.class_logits_BC for part in parts])[is_labelled]
            figures.update(first(lambda: dict(on_evaluate(self.model, logits_NC, labels_N[is_labelled]))))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _own(self, num_plans: int) -> range:
        """Numbers of the batches of an evaluation that this process reads."""
        if self._is_sharded:  # every process takes part in every forward
            return range(num_plans)
        return range(rank(), num_plans, num_ranks())

    @torch.no_grad()
    def _read(self, rows: Sequence[EncodedExample]) -> Read:
        """What the model makes of a batch of validation rows."""
        batch = collate(rows, pad_id=self._pad_id)._asdict()
        batch = {name: tensor.to(self.args.device) for name, tensor in batch.items()}
        with self.compute_loss_context_manager():
            output: DualOutput = self.model(**{name: tensor for name, tensor in batch.items() if name != "labels_B"})
            classes = class_loss_by_question(output.class_logits_BC, batch["labels_B"], self._spans(output))
        assert output.token_loss is not None
        terms = dict(zip(LOSSES, (classes, output.token_loss), strict=True))
        return Read(
            {name: float(term.total) for name, term in terms.items()},
            {name: int(term.weight) for name, term in terms.items()},
            output.class_logits_BC.float().cpu(),
            batch["labels_B"].cpu(),
        )

    # ---- checkpoints ----

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write what it takes to go on; the checkpoint counts, and older ones go, when every process has written."""
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        self.store_flos()
        spread = self._put_together() if self._is_sharded else None
        try:
            first(lambda: begin(folder))
            together(lambda: self._write(folder, spread))
            first(lambda: seal(folder, num_kept=self._num_kept, best=self.state.best_model_checkpoint))
        except ClsgenError as error:
            if rank() == 0:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, TrainingError):
                raise
            raise unwritten(folder, error) from error

    def _put_together(self) -> Whole:
        """Weights and optimizer state as one process would have them; the first process alone keeps them."""
        return Whole(self.trained_weights(), whole_optimizer_state(self.optimizer))

    def _write(self, folder: Path, spread: Whole | None) -> None:
        """This process's files of a checkpoint, `trainer_state.json` last."""
        try:
            if self.state.best_global_step:
                best = folder.with_name(f"checkpoint-{self.state.best_global_step}")
                if best.is_dir():
                    self.state.best_model_checkpoint = str(best)
            if self.args.should_save:
                self._save(str(folder), None if spread is None else spread.weights)
            if spread is None:
                self._save_optimizer_and_scheduler(str(folder))
            elif self.args.should_save:
                torch.save(spread.optimizer, folder / "optimizer.pt")
                torch.save(self.lr_scheduler.state_dict(), folder / "scheduler.pt")
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
            if self.args.should_save:
                for callback in [*self.callback_handler.callbacks, self.control]:
                    if isinstance(callback, ExportableState):
                        self.state.stateful_callbacks[type(callback).__name__] = callback.state()
                self.state.save_to_json(str(folder / "trainer_state.json"))
        except (OSError, SafetensorError, RuntimeError) as error:
            if isinstance(error, TrainingError):
                raise
            raise unwritten(folder, error) from error

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(self.args.output_dir if output_dir is None else output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.trained_weights() if state_dict is None else state_dict
        broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
        if broken:
            raise TrainingError(
                f"train: weights must be finite at step {self.state.global_step}; {broken[0]} is not ({len(broken)} "
                "in all). Nothing was saved; lower train.learning_rate."
            )
        save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})

    def trained_weights(self) -> dict[str, Tensor]:
        """Every tensor that training moves, whole and on the CPU; all processes ask at the same moment."""
        if self._is_sharded:
            put_away(self.model)
        return {name: whole(tensor).contiguous() for name, tensor in self.model.trained_state().items()}

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self._is_sharded:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        load_optimizer_state(self.optimizer, load_whole(f"{checkpoint}/optimizer.pt"))
        self.lr_scheduler.load_state_dict(load_whole(f"{checkpoint}/scheduler.pt"))

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Within it the gradients of spread weights add up; the last micro-batch of a step shares them out."""
        self.model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.model.set_requires_gradient_sync(True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        together(lambda: self.restore(Path(resume_from_checkpoint)))

    def _load_best_model(self) -> None:
        self.restore_best(Path(str(self.state.best_model_checkpoint)))

    def restore_best(self, folder: Path) -> None:
        """Put the weights of the checkpoint back that the model directory is made of; all processes do it together.

        Raises:
            ArtifactError: Its files are not those that it was sealed with.
        """
        first(lambda: check_best(folder))
        together(lambda: self.restore(folder))

    def restore(self, folder: Path) -> None:
        """Put a checkpoint's weights into the model.

        Raises:
            ArtifactError: They are not whole, or are another model's.
        """
        file = folder / WEIGHTS_FILE
        try:
            state = load_file(file)
        except (OSError, SafetensorError) as error:
            raise ArtifactError(f"{file.name} of {folder.name} must be whole; {error}. Resume from another.") from error
        where = f"{folder.name}/{WEIGHTS_FILE}"
        if self._is_sharded:
            put_away(self.model)
            current = self.model.trained_state()
            check_tensors(where, state, current)
            state = {name: spread_like(tensor, current[name]) for name, tensor in state.items()}
        self.model.load_trained_state(state, where=where)


def _blank(rows: Sequence[EncodedExample]) -> EncodedExample:
    """A row that counts in no loss: it fills up the last batches, so that every process has as many."""
    return min(rows, key=lambda row: row.num_tokens)._replace(label=UNLABELLED, target_ids=[])


def early_stopping(patience: int | None) -> list[EarlyStoppingCallback]:
    """The Trainer's own early stopping; [] for None."""
    return [] if patience is None else [EarlyStoppingCallback(early_stopping_patience=patience)]
