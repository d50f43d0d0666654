"""A setting that nothing reads is a promise broken in silence: each one is changed, and something else comes out.

`CASES` has an entry for every setting: a value, a probe, and the settings that it is tried under. A probe (lab.py)
gives what a configuration leads to; it must give something else when the setting alone is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from clsgen.config.fields import Setting, leaves, settings
from clsgen.model import backbone
from clsgen.pipeline.explanations import teacher_folder
from lab import (
    SMALL,
    Changes,
    Lab,
    Probe,
    argument,
    asked_of,
    asked_revision,
    calibrated,
    client,
    engine_kind,
    explanations,
    kept_copy,
    kept_of,
    loaded,
    loops,
    made,
    model_of,
    modes,
    monitored,
    num_forwards,
    objective,
    open_lab,
    patience,
    predictions,
    recomputes,
    refusal,
    result,
    rows,
    shapes,
    sizes,
    synthesised,
    trainer,
    weights,
)

OWN: Changes = {"data.task": None, "data.num_rows": None, "data.train": "{lab}/rows.jsonl"}
ASKED: Changes = {
    **OWN,
    "data.questions": {"a": {"label": "label"}, "b": {"label": "other label"}},
    "data.question": "a",
}
LCD: Changes = {"data.task": "lcd", "data.num_rows": None, "data.root": "{lab}/lcd"}
BASE: Changes = {"model.init": "pretrained", "model.backbone": "{lab}/llama", "model.tuning": "lora"}
SHORT: Changes = {"model.max_length_tokens": 96, "model.max_explanation_tokens": 32}
ENDPOINT: Changes = {"teacher.endpoint": "http://127.0.0.1:1/v1", "teacher.model": "m"}
PRICED: Changes = {**ENDPOINT, "teacher.input_price": 1.0, "teacher.output_price": 2.0}
TOLD: Changes = {"teacher.model": "m", "output": "{lab}/asking"}
UNSURE: Changes = {"predict.explain": "uncertain"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield open_lab(tmp_path_factory.mktemp("lab"), monkeypatch)


@dataclass(frozen=True)
class Case:
    """value: what the setting is changed to. probe: where it shows. under: settings on both sides.

    also: settings that must change along with it, or the configuration is refused.
    """

    value: Any
    probe: Probe
    under: Changes = field(default_factory=dict)
    also: Changes = field(default_factory=dict)


spec = loaded(lambda found: found.spec)
shape = model_of(shapes)
first_prompt = made(lambda prepared: prepared.train.rows[0].prompt_ids)
template = made(lambda prepared: prepared.built.renderer.template)

CASES: dict[str, Case] = {
    "output": Case("{lab}/run", refusal),
    "data.task": Case("lcd", rows, {**LCD, "data.task": "pubmedqa"}),
    "data.variant": Case("60", spec, LCD),
    "data.root": Case("{lab}/other", rows, LCD),
    "data.train": Case("{lab}/fewer.jsonl", rows, OWN),
    "data.test": Case("{lab}/held out.jsonl", rows, {**OWN, "data.train": "{lab}/fewer.jsonl"}),
    "data.columns.text": Case(["other text"], rows, OWN),
    "data.columns.question": Case("asked", rows, OWN),
    "data.columns.label": Case("other label", rows, OWN),
    "data.columns.explanation": Case("why", rows, OWN),
    "data.columns.group": Case(["day"], rows, OWN),
    "data.columns.id": Case("key", rows, OWN),
    "data.columns.subgroups": Case(["day"], rows, OWN),
    "data.labels": Case(["sun", "rain"], spec, OWN),
    "data.positive": Case("rain", spec, OWN),
    "data.instruction": Case("Dead or alive?", template),
    "data.questions": Case({"a": {"label": "other label"}}, rows, ASKED),
    "data.question": Case("b", rows, ASKED),
    "data.restricted": Case(True, spec),
    "data.explanations": Case("none", made(explanations)),
    "data.num_rows": Case(100, rows),
    "data.length": Case("lcd", rows),
    "data.prevalence": Case(0.6, rows),
    "data.seed": Case(1, rows),
    "data.split.validation": Case(0.3, sizes),
    "data.split.calibration": Case(0.3, sizes),
    "data.split.test": Case(0.3, sizes, OWN),
    "data.split.seed": Case(1, rows),
    "data.split.num_folds": Case(3, rows),
    "data.split.fold": Case(1, rows, {"data.split.num_folds": 3}),
    "data.allow_leaks": Case(True, rows, {**OWN, "data.test": "{lab}/held out.jsonl", "data.columns.group": ["day"]}),
    "model.backbone": Case("{lab}/qwen", model_of(lambda model: type(backbone.base_of(model.language_model))), BASE),
    "model.revision": Case("v2", asked_revision, {**BASE, "model.backbone": "some/model"}),
    "model.init": Case("pretrained", shape, also={"model.backbone": "{lab}/llama"}),
    "model.tuning": Case("full", shape, BASE),
    "model.dtype": Case("bfloat16", shape),
    "model.max_length_tokens": Case(240, first_prompt),
    "model.truncation": Case("head", first_prompt, SHORT),
    "model.max_explanation_tokens": Case(64, template),
    "model.scratch.vocabulary": Case(420, shape),
    "model.scratch.width": Case(64, shape),
    "model.scratch.num_layers": Case(2, shape),
    "model.scratch.num_heads": Case(4, model_of(lambda model: model.language_model.config.num_attention_heads)),
    "model.scratch.is_tied": Case(False, shape),
    "model.lora.rank": Case(2, shape, BASE),
    "model.lora.alpha": Case(8.0, model_of(lambda model: model.language_model.peft_config["default"].lora_alpha), BASE),
    "model.lora.dropout": Case(
        0.5, model_of(lambda model: [each.p for each in model.modules() if isinstance(each, torch.nn.Dropout)]), BASE
    ),
    "model.lora.starts_at": Case(
        "decision", model_of(lambda model: model.starts_at), {**BASE, "model.tuning": "activated"}
    ),
    "model.lora.targets": Case(["q_proj"], shape, BASE),
    "train.epochs": Case(2.0, argument("num_train_epochs")),
    "train.max_steps": Case(7, argument("max_steps")),
    "train.batch_size": Case(2, argument("per_device_train_batch_size")),
    "train.gradient_accumulation": Case(2, argument("gradient_accumulation_steps")),
    "train.learning_rate": Case(1e-3, argument("learning_rate")),
    "train.head_learning_rate": Case(1e-3, objective("head_learning_rate")),
    "train.schedule": Case("linear", argument("lr_scheduler_type")),
    "train.warmup": Case(0.2, argument("warmup_steps")),
    "train.weight_decay": Case(0.1, argument("weight_decay")),
    "train.max_grad_norm": Case(2.0, argument("max_grad_norm")),
    "train.class_loss_weight": Case(0.5, objective("class_loss_weight")),
    "train.explanation_weight": Case(0.5, objective("explanation_weight")),
    "train.free_share": Case(0.0, made(modes)),
    "train.class_weights": Case("balanced", objective("class_weights")),
    "train.label_smoothing": Case(0.1, objective("label_smoothing")),
    "train.kl_weight": Case(0.1, kept_copy, {**BASE, "model.tuning": "full"}),
    "train.precision": Case("bfloat16", argument("bf16")),
    "train.fsdp": Case(True, refusal),  # one process has nobody to spread over
    "train.gradient_checkpointing": Case(True, trainer(recomputes)),
    "train.seed": Case(1, model_of(weights)),
    "train.eval_steps": Case(2, argument("eval_steps")),
    "train.monitor": Case("auroc", argument("metric_for_best_model")),
    "train.patience": Case(None, trainer(patience)),
    "train.num_monitor_explanations": Case(2, trainer(monitored)),
    "train.num_checkpoints": Case(3, argument("save_total_limit")),
    "train.report_to": Case(["tensorboard"], argument("report_to")),
    "train.log_steps": Case(1, argument("logging_steps")),
    "teacher.folder": Case("{lab}/told", lambda lab, config: teacher_folder(config)),
    "teacher.endpoint": Case("http://127.0.0.1:2/v1", client(lambda given: given["endpoint"]), ENDPOINT),
    "teacher.model": Case("n", client(lambda given: given["model"]), ENDPOINT),
    "teacher.api_key_env": Case("LAB_KEY", client(lambda given: given["api_key"]), ENDPOINT),
    "teacher.strategy": Case("hinted", synthesised(asked_of), TOLD),
    "teacher.num_samples": Case(2, synthesised(asked_of), TOLD),
    "teacher.selection": Case(["length"], synthesised(kept_of), {**TOLD, "teacher.selection": ["agreement"]}),
    "teacher.fallback": Case(
        "extractive", synthesised(kept_of), {**TOLD, "teacher.strategy": "blind", "teacher.num_samples": 1}
    ),
    "teacher.prompts": Case("{lab}/prompts", synthesised(asked_of), TOLD),
    "teacher.temperature": Case(0.1, synthesised(asked_of), TOLD),
    "teacher.top_p": Case(0.5, synthesised(asked_of), TOLD),
    "teacher.max_tokens": Case(99, synthesised(asked_of), TOLD),
    "teacher.seed": Case(7, synthesised(asked_of), TOLD),
    "teacher.concurrency": Case(3, client(lambda given: given["settings"].concurrency), ENDPOINT),
    "teacher.num_attempts": Case(2, client(lambda given: given["settings"].num_attempts), ENDPOINT),
    "teacher.timeout_seconds": Case(9.0, client(lambda given: given["settings"].timeout_seconds), ENDPOINT),
    "teacher.requests_per_minute": Case(9, client(lambda given: given["limits"].rate._most_requests), ENDPOINT),
    "teacher.tokens_per_minute": Case(9, client(lambda given: given["limits"].rate._most_tokens), ENDPOINT),
    "teacher.budget_tokens": Case(9, client(lambda given: given["limits"].budget.max_tokens), ENDPOINT),
    "teacher.budget_money": Case(9.0, client(lambda given: given["limits"].budget.max_money), PRICED),
    "teacher.input_price": Case(9.0, client(lambda given: given["limits"].budget.prices), PRICED),
    "teacher.output_price": Case(9.0, client(lambda given: given["limits"].budget.prices), PRICED),
    "teacher.max_tokens_field": Case("most", client(lambda given: given["settings"].max_tokens_field), ENDPOINT),
    "teacher.extra_body": Case({"a": 1}, client(lambda given: given["settings"].extra_body), ENDPOINT),
    "teacher.allow_hosts": Case(["a.example"], client(lambda given: given["settings"].allowed_hosts), ENDPOINT),
    "teacher.filters.min_words": Case(20, synthesised(kept_of), TOLD),
    "teacher.filters.max_words": Case(18, synthesised(kept_of), TOLD),
    "teacher.filters.leak_phrases": Case(["the zebra"], synthesised(kept_of), TOLD),
    "teacher.filters.outcome_words": Case(["zebra"], synthesised(kept_of), TOLD),
    "teacher.filters.is_language_checked": Case(False, synthesised(kept_of), TOLD),
    "calibrate.method": Case("vector", calibrated(lambda bundle: bundle.calibrator.method)),
    "calibrate.threshold": Case("half", calibrated(lambda bundle: bundle.rule)),
    "calibrate.abstain": Case("band=0.1", calibrated(lambda bundle: bundle.rule.abstention)),
    "predict.engine": Case("plain", engine_kind),
    "predict.batch_tokens": Case(300, num_forwards, {"predict.explain": "none"}),
    "predict.explain": Case("none", predictions(lambda found: found.explanation is None)),
    "predict.mode": Case("decision", predictions(lambda found: found.mode)),
    "predict.no_repeat_ngram": Case(2, loops),
    "predict.uncertain_margin": Case(0.5, predictions(lambda found: found.explanation is None), UNSURE),
    "evaluate.num_bootstrap": Case(120, result(lambda found: found["bootstrap"]["num_draws"])),
    "evaluate.confidence": Case(0.6, result(lambda found: found["metrics"]["brier"]["low"])),
    "evaluate.num_bins": Case(3, result(lambda found: found["metrics"]["ece"]["value"])),
    "evaluate.figures": Case(["brier"], result(lambda found: list(found["metrics"]))),
    "evaluate.seed": Case(1, result(lambda found: found["metrics"]["brier"]["low"])),
}


def test_every_setting_has_a_case_and_no_other_has() -> None:
    assert set(CASES) == {setting.path for setting in leaves()}


@pytest.mark.parametrize("setting", leaves(), ids=lambda setting: setting.path)
def test_a_changed_setting_changes_what_comes_out(lab: Lab, setting: Setting) -> None:
    case = CASES[setting.path]
    before = {"predict.explain": "all", **case.under}
    unchanged = before.get(setting.path, SMALL.get(setting.path, settings()[setting.path].default))
    assert case.value != unchanged, "the case changes nothing"
    first = case.probe(lab, lab.config(before))
    second = case.probe(lab, lab.config({**before, **case.also, setting.path: case.value}))
    assert first != second


@pytest.mark.parametrize("path", ["data.num_rows", "model.scratch.width", "train.free_share", "evaluate.num_bins"])
def test_a_probe_gives_the_same_twice(lab: Lab, path: str) -> None:
    """Otherwise a probe that changes by itself would show nothing."""
    case = CASES[path]
    lab.kept.clear()
    first = case.probe(lab, lab.config(case.under))
    lab.kept.clear()
    assert case.probe(lab, lab.config(case.under)) == first
