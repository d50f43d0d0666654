"""The methods of a comparison: how each gets its predictions of the test rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clsgen.artifacts import make_folder, read_record, sha256_of, write_json_atomic, write_text_atomic
from clsgen.baselines import prompting, text_only
from clsgen.config.load import load_config, save_config
from clsgen.config.prediction import CalibrationSettings
from clsgen.config.run import RunConfig
from clsgen.data.batch import encode_examples
from clsgen.data.predictions import read_predictions, to_record
from clsgen.errors import CalibrationError, ConfigError, TeacherError
from clsgen.inference.batch import predict_file
from clsgen.inference.likelihood import perplexity
from clsgen.inference.local_teacher import LocalChat
from clsgen.inference.predictor import Classifier
from clsgen.model.calibrator import CALIBRATION, Calibrator
from clsgen.model.checkpoint import Bundle, load_bundle
from clsgen.model.decision import DecisionRule
from clsgen.pipeline.baselines import Judged, baseline_predictions, judged
from clsgen.pipeline.endpoint import Endpoint
from clsgen.pipeline.evaluate import evaluate_run, is_predicted
from clsgen.pipeline.explanations import teacher_folder
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.train import train_run
from clsgen.types import ROLES, Example, Prediction, Role, TaskSpec

_WORDS_A_TOKEN = 0.6
"""A document is cut to this many words a token of model.max_length_tokens before it is put into a prompt."""


class Outcome(NamedTuple):
    """One method with one seed.

    predictions: Of the test rows, those it has an answer for. notes: What else is known (perplexity, failures).
    seconds: What it took when it was judged; a training that was there before is not in it.
    """

    predictions: list[Prediction]
    notes: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Method:
    """A method: whether seeds differ, why settings rule it out ("" if they don't), and how it is run."""

    has_seed: bool
    problem: Callable[[RunConfig, Endpoint | None], str]
    run: Callable[[Work, int, Path], tuple[list[Prediction], dict[str, Any]]]


class Work:
    """Runs methods on the rows of one run, and keeps what they gave.

    Args:
        config: The run.
        endpoint: A server to prompt; None: there is none.
        notify: Called with a line at each step.
    """

    def __init__(self, config: RunConfig, endpoint: Endpoint | None, notify: Callable[[str], None]) -> None:
        self.config = config
        self.endpoint = endpoint
        self.notify = notify
        self.run = RunFolder(Path(config.output))
        self.folder = Path(config.output) / "compare"
        for earlier in (self.run.config_file, self.folder / "config.yaml"):
            if earlier.is_file():
                _check_same(earlier, config)

    @cached_property
    def spec(self) -> TaskSpec:
        """The task, from the model of the first seed."""
        return self.run.spec()

    @cached_property
    def roles(self) -> Mapping[Role, list[Example]]:
        """Rows by role, as the first seed's run saw them."""
        return {role: self.run.rows(role) for role in ROLES}

    @cached_property
    def judged_on(self) -> Judged:
        """The rows, and how every method is calibrated."""
        return Judged(self.roles, self.run.groups(), self.spec, self.config.calibrate)

    @cached_property
    def chat(self) -> LocalChat:
        """The base model, not tuned."""
        model = self.config.model
        return LocalChat.load(str(model.backbone), batch_size=8, revision=model.revision, dtype=model.dtype)

    @property
    def max_words(self) -> int:
        """Words that a document is cut to in a prompt."""
        return max(32, int(self.config.model.max_length_tokens * _WORDS_A_TOKEN))

    def outcome(self, name: str, seed: int) -> Outcome:
        """What a method gives with a seed; an earlier result is read again."""
        folder = self.folder / f"{name}-seed{seed}"
        file, notes_file = folder / "predictions.jsonl", folder / "outcome.json"
        if not notes_file.is_file() or (name == "clsgen" and self._is_stale(seed, folder, notes_file)):
            self.notify(f"{name}, seed {seed}")
            started = time.monotonic()
            try:
                predictions, notes = METHODS[name].run(self, seed, folder)
            except CalibrationError as error:  # a policy that its probabilities can't keep
                if name == "clsgen":
                    raise
                predictions, notes = [], {"reason": str(error)}
            make_folder(folder)
            save_config(self.config, self.folder / "config.yaml")
            lines = "".join(json.dumps(to_record(row), ensure_ascii=False) + "\n" for row in predictions)
            write_text_atomic(file, lines, is_private=True)
            record = {"notes": notes, "seconds": round(time.monotonic() - started, 1), "num_rows": len(predictions)}
            write_json_atomic(notes_file, record)
        record = json.loads(notes_file.read_text(encoding="utf-8"))
        predictions = read_predictions(file) if record["num_rows"] else []
        return Outcome(predictions, record["notes"], record["seconds"])

    def run_of(self, seed: int, folder: Path) -> Path:
        """Where clsgen's run of a seed stands; the first seed's is the run itself."""
        return self.run.path if seed == self.config.train.seed else folder / "run"

    def _is_stale(self, seed: int, folder: Path, notes_file: Path) -> bool:
        """Whether the run was predicted again since, with another threshold for one."""
        record = json.loads(notes_file.read_text(encoding="utf-8"))
        run = RunFolder(self.run_of(seed, folder))
        check_decision(run, self.config.calibrate)
        return not is_predicted(run) or record["notes"].get("predictions_sha256") != sha256_of(run.predictions)

    def trained(self, seed: int, folder: Path, **changes: Any) -> RunFolder:
        """A run of the recipe with settings of training changed; trained unless it is whole."""
        run = RunFolder(folder)
        if not (run.model / "clsgen.json").is_file():
            values = self.config.model_dump()
            values["train"] |= {"seed": seed} | changes
            if values["train"]["class_loss_weight"] == 0:  # an untrained head: what it decides is not looked at
                values["calibrate"] = {"threshold": "half"}
            if folder != self.run.path:  # the explanations that were made for the run itself
                values["teacher"]["folder"] = str(teacher_folder(self.config))
            config = RunConfig.model_validate(values | {"output": str(folder)})
            train_run(config, is_resumed=run.config_file.is_file(), notify=self.notify)
        return run

    def judged_by(self, logits: Callable[[Sequence[Example]], Any]) -> list[Prediction]:
        """Predictions of the test rows from logits, calibrated on the calibration rows."""
        return judged(logits, self.judged_on)

    def explained(self, bundle: Bundle, rows: Sequence[Example], file: Path) -> dict[str, Prediction]:
        """Predictions with a reason in free mode, by id, whatever the model was tuned for; kept in a file."""
        predict = self.config.predict
        classifier = Classifier(
            replace(bundle, has_explanations=True), batch_tokens=predict.batch_tokens, engine=predict.engine
        )
        predict_file(classifier, rows, file, explain="all", groups=self.run.groups())
        return {row.id: row for row in read_predictions(file)}

    def perplexity(self, bundle: Bundle) -> float | None:
        """Of the validation rows' explanations, in free mode; None where they have none."""
        rows = encode_examples(self.roles["validation"], bundle.renderer, with_targets=True).rows
        found = perplexity(bundle.model, rows, pad_id=bundle.pad_id)
        return None if np.isnan(found) else found


def _check_same(earlier: Path, config: RunConfig) -> None:
    """Raise where results of another configuration stand in the way; how they are judged may differ."""
    skipped = {"output", "evaluate"}
    before, now = (each.model_dump(mode="json", exclude=skipped) for each in (load_config(earlier), config))
    changed = [
        f"{section}.{name}"
        for section in now
        for name in now[section]
        if before.get(section, {}).get(name) != now[section][name]
    ]
    if changed:
        raise ConfigError(
            f"compare: {earlier.parent} must hold results of this configuration; {', '.join(changed)} differ. "
            "Choose another output, or remove it."
        )


def check_decision(run: RunFolder, settings: CalibrationSettings) -> None:
    """Refuse a model that was calibrated or tuned otherwise since: every other method follows the settings.

    Raises:
        ConfigError: Its threshold, abstention or calibrator is another one, or of other rows.
    """
    calibrator = Calibrator.from_json(read_record(run.model / "calibrator.json"))
    rule = DecisionRule.from_json(read_record(run.model / "decision.json"))
    abstain = "none" if rule.abstention is None else rule.abstention.policy
    is_own_method = calibrator.method in (
        ("vector", "temperature") if settings.method == "auto" else (settings.method,)
    )
    changed = [
        name
        for name, is_same in {
            "calibrate.method": is_own_method and calibrator.fitted_on == CALIBRATION,
            "calibrate.threshold": rule.threshold is None or rule.policy == settings.threshold,
            "calibrate.abstain": abstain == settings.abstain,
            "the rows that it was chosen on": rule.chosen_on == CALIBRATION,
        }.items()
        if not is_same
    ]
    if changed:
        raise ConfigError(
            f"compare: the model of {run.path} must be calibrated and decide as the settings say, since every other "
            f"method does; {', '.join(changed)} differ. Set it back: clsgen calibrate {run.path} --method "
            f"{settings.method} --threshold {settings.threshold} --abstain {settings.abstain}"
        )


def _clsgen(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
    run = work.trained(seed, work.run_of(seed, folder))
    check_decision(run, work.config.calibrate)
    evaluate_run(run.path)
    notes = {"perplexity": work.perplexity(load_bundle(run.model)), "predictions_sha256": sha256_of(run.predictions)}
    return read_predictions(run.predictions), notes


def _class_only(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
    """The class head alone; its language head is asked to explain all the same, to see what became of it."""
    run = work.trained(seed, folder / "run", explanation_weight=0.0, kl_weight=0.0, monitor="class_loss")
    bundle = load_bundle(run.model)
    found = work.explained(bundle, work.roles["test"], folder / "explained.jsonl")
    return list(found.values()), {"perplexity": work.perplexity(bundle)}


def _text_only(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
    """The language head alone: reason, then answer, whose likelihood is the probability."""
    run = work.trained(
        seed, folder / "run", class_loss_weight=0.0, free_share=1.0, class_weights="none", monitor="loss"
    )
    bundle = load_bundle(run.model)
    labelled = [row for row in work.roles["calibration"] if row.label is not None]
    written = work.explained(bundle, [*labelled, *work.roles["test"]], folder / "explained.jsonl")
    reasons = {id_: row.explanation or "" for id_, row in written.items()}
    found = work.judged_by(lambda rows: text_only.label_logits(bundle, rows, reasons))
    return [_with_text(row, written[row.id]) for row in found], {"perplexity": work.perplexity(bundle)}


def _two_models(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
    """The probability of one model beside the text of another; both are trained already, or are now."""
    classes, texts = work.outcome("class_only", seed), work.outcome("text_only", seed)
    of = {row.id: row for row in texts.predictions}
    predictions = [_with_text(row, of[row.id]) for row in classes.predictions]
    return predictions, {"perplexity": texts.notes["perplexity"], "seconds_of_both": classes.seconds + texts.seconds}


def _with_text(row: Prediction, text: Prediction) -> Prediction:
    agreement = None if text.stated_label is None else text.stated_label == row.decision
    return replace(
        row,
        mode=text.mode,
        explanation=text.explanation,
        stated_label=text.stated_label,
        has_ended=text.has_ended,
        agreement=agreement,
    )


def _fitted(name: Any) -> Callable[[Work, int, Path], tuple[list[Prediction], dict[str, Any]]]:
    def run(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
        return baseline_predictions(name, work.judged_on, seed=seed), {}

    return run


def _prompt_label(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
    return _by_likelihood(work, ())


def _prompt_few_shot(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
    shots = prompting.choose_shots(work.roles["train"], work.spec, seed=seed)
    predictions, _ = _by_likelihood(work, shots)
    return predictions, {"shots": [shot.id for shot in shots]}


def _by_likelihood(work: Work, shots: Sequence[Example]) -> tuple[list[Prediction], dict[str, Any]]:
    def logits(rows: Sequence[Example]) -> Any:
        return prompting.label_logits(work.chat, rows, work.spec, shots=shots, max_words=work.max_words)

    try:
        return work.judged_by(logits), {}
    except TeacherError as error:  # examples and row together are longer than the model's context
        return [], {"reason": str(error)}


def _prompt_verbal(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
    return _by_stated(work, lambda: work.chat)


def _endpoint(work: Work, seed: int, folder: Path) -> tuple[list[Prediction], dict[str, Any]]:
    assert work.endpoint is not None
    where = work.endpoint
    predictions, notes = _by_stated(work, lambda: where.open(is_restricted=work.spec.is_restricted))
    return predictions, notes | {"model": where.model}


def _by_stated(work: Work, open_chat: Callable[[], Any]) -> tuple[list[Prediction], dict[str, Any]]:
    """Stated probabilities, calibrated on the rows that got one; rows without are counted and left out."""
    labelled = [row for row in work.roles["calibration"] if row.label is not None]
    test = work.roles["test"]
    stated = prompting.stated_logits(open_chat, [*labelled, *test], work.spec, max_words=work.max_words)
    of = dict(zip([row.id for row in (*labelled, *test)], stated.logits_NC, strict=True))
    notes = {"failures": stated.failures, "num_asked": len(of)}
    kept: dict[Role, list[Example]] = {
        "calibration": [row for row in labelled if not np.isnan(of[row.id]).any()],
        "test": [row for row in test if not np.isnan(of[row.id]).any()],
    }
    if {row.label for row in kept["calibration"]} != set(work.spec.labels) or not kept["test"]:
        return [], notes | {"reason": "too few answers hold a probability"}
    logits = lambda rows: np.array([of[row.id] for row in rows])  # noqa: E731
    return judged(logits, work.judged_on._replace(roles=kept)), notes


def _always(config: RunConfig, endpoint: Endpoint | None) -> str:
    return ""


def _needs_classes(config: RunConfig, endpoint: Endpoint | None) -> str:
    return "needs a class loss; train.class_loss_weight is 0." if config.train.class_loss_weight == 0 else ""


def _needs_both(config: RunConfig, endpoint: Endpoint | None) -> str:
    return _needs_classes(config, endpoint) or _needs_texts(config, endpoint)


def _needs_texts(config: RunConfig, endpoint: Endpoint | None) -> str:
    if config.data.explanations == "none" or config.train.explanation_weight == 0 or config.model.tuning == "head_only":
        return "needs explanations to train on; this run has none."
    return ""


def _needs_base(config: RunConfig, endpoint: Endpoint | None) -> str:
    return "needs a pretrained model to prompt; this run is init: scratch." if config.model.init == "scratch" else ""


def _needs_endpoint(config: RunConfig, endpoint: Endpoint | None) -> str:
    return "needs an address and a model (--endpoint, --endpoint-model)." if endpoint is None else ""


METHODS: dict[str, Method] = {
    "clsgen": Method(True, _always, _clsgen),
    "class_only": Method(True, _needs_classes, _class_only),
    "text_only": Method(True, _needs_texts, _text_only),
    "two_models": Method(True, _needs_both, _two_models),
    "tfidf": Method(False, _always, _fitted("tfidf")),
    "cnn": Method(True, _always, _fitted("cnn")),
    "cnn_lcd": Method(True, _always, _fitted("cnn_lcd")),
    "prompt_label": Method(False, _needs_base, _prompt_label),
    "prompt_few_shot": Method(True, _needs_base, _prompt_few_shot),
    "prompt_verbal": Method(False, _needs_base, _prompt_verbal),
    "endpoint": Method(False, _needs_endpoint, _endpoint),
}
"""Name -> method, in the order of the tables."""
