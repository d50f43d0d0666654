"""One forward, two losses: equal gradients however the step is cut, nothing silent, whole checkpoints."""

from __future__ import annotations

import dataclasses
import gc
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import TrainerCallback

import tiny
from clsgen.config.training import TrainSettings
from clsgen.data.batch import UNLABELLED, collate, encode_examples
from clsgen.errors import ArtifactError, HardwareError, TrainingError
from clsgen.model import backbone, dual
from clsgen.training import trainer as trainer_module
from clsgen.training.objective import Objective, objective_of, training_arguments
from clsgen.training.trainer import WEIGHTS_FILE, DualTrainer, early_stopping

OBJECTIVE = Objective(
    class_loss_weight=0.9,
    explanation_weight=0.7,
    kl_weight=0.0,
    class_weights=None,
    label_smoothing=0.0,
    head_learning_rate=1e-3,
)


class StepGradients(TrainerCallback):
    """Keeps the gradients as the optimizer is about to use them, and stops it from moving anything."""

    def __init__(self, model):
        self.model = model
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.steps.append({n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None})
        self.model.zero_grad()


def unequal_rows(renderer):
    """16 rows: some without label, some without explanation, lengths apart."""
    rows = tiny.examples(16)
    rows = [
        dataclasses.replace(row, label=None) if index % 5 == 3 else
        dataclasses.replace(row, explanation=None) if index % 3 == 1 else row
        for index, row in enumerate(rows)
    ]  # fmt: skip
    return encode_examples(rows, renderer, with_targets=True, free_share=0.5).rows


def trainer_for(
    built, rows, folder: Path, *, objective=OBJECTIVE, callbacks=(), validation=(), **changes
) -> DualTrainer:
    settings = TrainSettings(**({"precision": "float32", "max_grad_norm": 1e9, "seed": 3, "warmup": 0.0} | changes))
    return DualTrainer(
        built.model,
        training_arguments(settings, folder, has_validation=bool(validation)),
        train_rows=rows,
        validation_rows=list(validation),
        objective=objective,
        pad_id=built.pad_id,
        callbacks=list(callbacks),
    )


def flat(gradients) -> torch.Tensor:
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


@pytest.fixture
def base(tmp_path):
    return tiny.save("llama", tmp_path / "base")


def step_gradients(base, tmp_path, batch_size, accumulation, **options) -> torch.Tensor:
    built = tiny.dual(base)
    rows = unequal_rows(built.renderer)[:8]
    watcher = StepGradients(built.model)
    trainer_for(
        built,
        rows,
        tmp_path / f"c{batch_size}",
        callbacks=[watcher],
        batch_size=batch_size,
        gradient_accumulation=accumulation,
        max_steps=1,
        **options,
    ).train()
    assert len(watcher.steps) == 1
    return flat(watcher.steps[0])


def test_gradients_do_not_depend_on_how_the_step_is_cut(base, tmp_path):
    """(8,1) = (2,4) = (1,8) with unequal lengths, missing labels and missing explanations (trap 14)."""
    whole = step_gradients(base, tmp_path, 8, 1)
    assert whole.norm() > 0.1
    for batch_size, accumulation in ((2, 4), (1, 8)):
        cut = step_gradients(base, tmp_path, batch_size, accumulation)
        assert (whole - cut).norm() <= 1e-5 * whole.norm()


def test_gradients_are_those_of_an_independent_computation(base, tmp_path):
    """Against stock outputs, row by row, divided once by hand."""
    found = step_gradients(base, tmp_path, 8, 1)
    built = tiny.dual(base)
    built.model.train()
    rows = unequal_rows(built.renderer)[:8]
    class_sum, token_sum, num_labels, num_tokens = 0.0, 0.0, 0, 0
    for row in rows:
        output = built.model.language_model(
            input_ids=torch.tensor([row.prompt_ids + row.target_ids]), output_hidden_states=True
        )
        if row.label != UNLABELLED:
            logits = built.model.head.weight @ output.hidden_states[-1][0, len(row.prompt_ids) - 1]
            class_sum = class_sum - logits.log_softmax(0)[row.label]
            num_labels += 1
        if row.target_ids:
            logprobs = output.logits[0, len(row.prompt_ids) - 1 : -1].log_softmax(-1)
            token_sum = token_sum - logprobs[torch.arange(len(row.target_ids)), torch.tensor(row.target_ids)].sum()
            num_tokens += len(row.target_ids)
    assert 0 < num_labels < 8
    (
        OBJECTIVE.class_loss_weight * class_sum / num_labels + OBJECTIVE.explanation_weight * token_sum / num_tokens
    ).backward()
    ours = flat({name: p.grad for name, p in built.model.named_parameters() if p.grad is not None})
    assert (found - ours).norm() <= 1e-5 * ours.norm()


def test_kl_to_the_base_has_the_token_denominator(base, tmp_path):
    objective = dataclasses.replace(OBJECTIVE, kl_weight=20.0)
    whole = step_gradients(base, tmp_path, 8, 1, objective=objective)
    cut = step_gradients(base, tmp_path, 1, 8, objective=objective)
    plain = step_gradients(base, tmp_path, 8, 1)
    assert (whole - cut).norm() <= 1e-5 * whole.norm()
    assert (whole - plain).norm() > 1e-3 * plain.norm()


def test_a_step_without_labels_or_without_explanations_has_a_zero_term(base, tmp_path):
    for change, term in (({"label": None}, "class_loss"), ({"explanation": None}, "explanation_loss")):
        built = tiny.dual(base)
        rows = [dataclasses.replace(row, **change) for row in tiny.examples(4)]
        encoded = encode_examples(rows, built.renderer, with_targets=True).rows
        trainer = trainer_for(built, encoded, tmp_path / term, batch_size=4, max_steps=1, log_steps=1)
        trainer.train()
        logged = trainer.state.log_history[0]
        assert logged[term] == 0.0
        assert math.isfinite(logged["loss"])
        assert logged["loss"] > 0


def test_logged_terms_add_up_to_the_loss(base, tmp_path):
    built = tiny.dual(base)
    trainer = trainer_for(
        built,
        unequal_rows(built.renderer),
        tmp_path / "c",
        batch_size=4,
        gradient_accumulation=2,
        max_steps=4,
        log_steps=2,
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 2
    for entry in logged:
        # the Trainer rounds its own loss to four digits
        assert entry["loss"] == pytest.approx(0.9 * entry["class_loss"] + 0.7 * entry["explanation_loss"], abs=2e-4)


def test_the_batch_keeps_every_key(base, tmp_path):
    """`remove_unused_columns` would drop the labels (trap 15)."""
    built = tiny.dual(base)
    trainer = trainer_for(built, unequal_rows(built.renderer), tmp_path / "c", batch_size=4)
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch) == set(collate(unequal_rows(built.renderer)[:1], pad_id=0)._fields)
    assert {"labels_B", "target_N", "decision_B"} <= set(batch)


def test_a_loss_that_is_not_finite_stops_training_and_saves_nothing(base, tmp_path):
    built = tiny.dual(base)
    with torch.no_grad():
        built.model.head.weight[0, 0] = float("inf")
    trainer = trainer_for(built, unequal_rows(built.renderer), tmp_path / "c", batch_size=4, max_steps=2)
    with pytest.raises(TrainingError, match=r"the loss at step 1 must be finite; got class_loss=(nan|inf)"):
        trainer.train()
    assert not list((tmp_path / "c").glob("checkpoint-*"))


def test_weights_that_are_not_finite_are_not_saved(base, tmp_path):
    built = tiny.dual(base)
    trainer = trainer_for(built, unequal_rows(built.renderer), tmp_path / "c", batch_size=4)
    with torch.no_grad():
        built.model.head.weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"weights must be finite.*head\.weight is not"):
        trainer._save(str(tmp_path / "c"))
    assert not (tmp_path / "c" / WEIGHTS_FILE).exists()


def test_a_checkpoint_of_weights_that_are_not_finite_is_not_left_behind(base, tmp_path):
    built = tiny.dual(base)

    class Break(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            with torch.no_grad():
                built.model.head.weight[0, 0] = float("nan")

    rows = unequal_rows(built.renderer)
    options = {"batch_size": 4, "max_steps": 1, "eval_steps": 1, "callbacks": [Break()]}
    with pytest.raises(TrainingError, match=r"weights must be finite at step 1; head\.weight is not"):
        trainer_for(built, rows, tmp_path / "c", **options).train()
    assert not list((tmp_path / "c").glob("checkpoint-*"))


def test_a_checkpoint_that_cannot_be_written_is_an_error_and_is_not_left_behind(base, tmp_path, monkeypatch):
    built = tiny.dual(base)

    def full(state, file, metadata):
        if "checkpoint-2" in str(file):
            raise OSError("no space left on device")
        save_file(state, file, metadata=metadata)

    monkeypatch.setattr(trainer_module, "save_file", full)
    trainer = trainer_for(built, unequal_rows(built.renderer), tmp_path / "c", batch_size=4, max_steps=2, eval_steps=1)
    with pytest.raises(TrainingError, match="checkpoint-2 must be written; no space left.*Earlier checkpoints"):
        trainer.train()
    assert [path.name for path in (tmp_path / "c").glob("checkpoint-*")] == ["checkpoint-1"]


def test_several_gpus_without_a_launcher_are_refused(base, tmp_path, monkeypatch):
    built = tiny.dual(base)
    arguments = training_arguments(TrainSettings(), tmp_path / "c", has_validation=False)
    monkeypatch.setattr(type(arguments), "n_gpu", property(lambda self: 2))
    with pytest.raises(HardwareError, match="2 GPUs must each have a process of their own"):
        DualTrainer(built.model, arguments, train_rows=[], validation_rows=[], objective=OBJECTIVE, pad_id=built.pad_id)


def test_the_head_has_its_own_learning_rate_and_norms_no_decay(base, tmp_path):
    built = tiny.dual(base, tuning="full")
    objective = dataclasses.replace(OBJECTIVE, head_learning_rate=0.5)
    trainer = trainer_for(
        built, unequal_rows(built.renderer), tmp_path / "c", objective=objective, learning_rate=1e-3, weight_decay=0.1
    )
    groups = trainer.create_optimizer().param_groups
    names = {id(p): name for name, p in built.model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["lr"] == (0.5 if name.startswith("head.") else 1e-3)
            assert group["weight_decay"] == (0.0 if "norm" in name else 0.1)
    assert sum(len(group["params"]) for group in groups) == len(names)


def test_evaluation_is_the_mean_over_rows_and_tokens(base, tmp_path):
    """Not a mean of batch means; checked against one batch of all rows."""
    built = tiny.dual(base)
    rows = unequal_rows(built.renderer)
    trainer = trainer_for(built, rows, tmp_path / "c", validation=rows)
    metrics = trainer.evaluate()
    batch = collate(rows, pad_id=built.pad_id)._asdict()
    labels, targets = batch.pop("labels_B"), batch.pop("target_N")
    with torch.no_grad():
        output = built.model(**batch)
    classes = nn.functional.cross_entropy(output.class_logits_BC, labels, ignore_index=UNLABELLED)
    tokens = nn.functional.cross_entropy(output.token_logits_NV, targets)
    assert metrics["eval_class_loss"] == pytest.approx(float(classes), rel=1e-5)
    assert metrics["eval_explanation_loss"] == pytest.approx(float(tokens), rel=1e-5)
    assert metrics["eval_perplexity"] == pytest.approx(math.exp(float(tokens)), rel=1e-5)
    assert metrics["eval_loss"] == pytest.approx(float(0.9 * classes + 0.7 * tokens), rel=1e-5)


def test_evaluation_keeps_no_vocabulary_logits(base, tmp_path, monkeypatch):
    """Those of one part of a batch are gone when the next one's are made, and so are those of the batch before."""
    built = tiny.dual(base)
    num_ids = backbone.base_of(built.model.language_model).get_output_embeddings().weight.shape[0]
    make, alive = type(built.model).vocabulary_logits, []

    def made(model, hidden_ND):
        logits_NV = make(model, hidden_ND)
        tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
        alive.append([len(each) for each in tensors if each.ndim > 1 and each.shape[-1] == num_ids])
        return logits_NV

    monkeypatch.setattr(type(built.model), "vocabulary_logits", made)
    monkeypatch.setattr(dual, "_MAX_LOGITS", 100 * num_ids)
    rows = unequal_rows(built.renderer) * 4
    trainer_for(built, rows, tmp_path / "c", validation=rows).evaluate()
    assert len(alive) > 10
    assert all(len(each) == 1 and each[0] <= 100 for each in alive), alive
    assert sum(each[0] for each in alive) == sum(len(row.target_ids) for row in rows)


def test_on_evaluate_sees_labelled_rows_and_its_figures_choose(base, tmp_path):
    built = tiny.dual(base)
    rows = unequal_rows(built.renderer)
    seen = []

    def on_evaluate(model, logits, labels):
        seen.append((logits.shape, labels.tolist()))
        return {"auroc": 0.25}

    trainer = trainer_for(built, rows, tmp_path / "c", validation=rows)
    trainer._on_evaluate = on_evaluate
    assert trainer.evaluate()["eval_auroc"] == 0.25
    num_labelled = sum(row.label != UNLABELLED for row in rows)
    assert seen[0][0] == (num_labelled, 2)
    assert UNLABELLED not in seen[0][1]


def test_early_stopping_stops_and_the_best_weights_come_back(base, tmp_path):
    built = tiny.dual(base)
    rows = unequal_rows(built.renderer)
    trainer = trainer_for(
        built,
        rows,
        tmp_path / "c",
        validation=rows,
        callbacks=early_stopping(2),
        batch_size=8,
        eval_steps=1,
        max_steps=50,
        learning_rate=0.3,  # makes it worse at once
        monitor="loss",
        num_checkpoints=1,
    )
    trainer.train()
    assert trainer.state.global_step < 50
    best = trainer.state.best_global_step
    losses = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    assert losses[best] == min(losses.values())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[best], rel=1e-6)


def test_a_broken_checkpoint_is_refused_by_name(base, tmp_path):
    built = tiny.dual(base)
    trainer = trainer_for(built, unequal_rows(built.renderer), tmp_path / "c", batch_size=8, max_steps=1)
    trainer.train()
    file = tmp_path / "c" / "checkpoint-1" / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=r"model.safetensors of checkpoint-1 must be whole"):
        trainer.restore(file.parent)


def test_checkpoints_hold_no_pickle_of_ours(base, tmp_path):
    built = tiny.dual(base)
    trainer_for(built, unequal_rows(built.renderer), tmp_path / "c", batch_size=8, max_steps=1).train()
    names = {path.name for path in (tmp_path / "c" / "checkpoint-1").iterdir()}
    assert WEIGHTS_FILE in names
    assert "training_args.bin" not in names
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.load(tmp_path / "c" / "checkpoint-1" / name, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_tiny_model_overfits_states_its_label_and_stops(family, tmp_path):
    """With pad = end the end token would leave the loss and generation would never stop (trap 2)."""
    from clsgen.data.template import Prompt
    from clsgen.inference.fast_engine import make_engine

    built = tiny.dual(tiny.save(family, tmp_path / "base"), tuning="full", is_random_head=False)
    examples = tiny.examples(4)
    rows = encode_examples(examples, built.renderer, with_targets=True).rows
    trainer_for(built, rows, tmp_path / "c", batch_size=4, max_steps=220, learning_rate=1e-2, max_grad_norm=1.0).train()
    engine = make_engine(built.model, pad_id=built.pad_id, end_id=built.renderer.template.end_id)
    prompts = [Prompt(row.prompt_ids, 0, row.document_end) for row in rows]
    prefilled = engine.prefill(prompts)
    decided = prefilled.class_logits_BC.argmax(-1).tolist()
    written = engine.generate(prefilled, [built.renderer.forced("free")] * 4, max_new_tokens=90)
    assert decided == [row.label for row in rows]
    for example, generated in zip(examples, written, strict=True):
        assert generated.has_ended
        assert built.renderer.parse(generated.ids, "free") == (example.explanation, example.label)


def test_objective_takes_the_heads_rate_from_the_backbone_where_unset():
    assert objective_of(TrainSettings(learning_rate=3e-3), None).head_learning_rate == 3e-3
    assert objective_of(TrainSettings(head_learning_rate=1e-2), (1.0, 2.0)).class_weights == (1.0, 2.0)
