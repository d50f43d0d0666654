"""The main job: rows -> dual-head model -> calibrator and threshold -> a model directory."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, set_seed

from clsgen.artifacts import locked, make_folder, read_record, run_record, write_json_atomic
from clsgen.config.load import load_config, save_config
from clsgen.config.run import RunConfig
from clsgen.data.split import Split, check_disjoint
from clsgen.errors import ArtifactError, CalibrationError, ConfigError
from clsgen.inference.predictor import Classifier
from clsgen.model.attention import blocked_attention
from clsgen.model.checkpoint import Bundle, merged, save_bundle
from clsgen.pipeline.calibrate import calibrated, identity_calibrator, identity_rule
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.prepare import Prepared, prepare, prepare_questions, summary
from clsgen.pipeline.questions import hand_out, is_joint, link_same_files, part_configs, task_of
from clsgen.training.checkpoints import last_whole_checkpoint
from clsgen.training.objective import check_trackers, is_bfloat16, objective_of, training_arguments
from clsgen.training.ranks import first, is_first, join, leave, missing_peers, num_ranks, obey, rank, together
from clsgen.training.trainer import DualTrainer, early_stopping
from clsgen.types import Example

Notify = Callable[[str], None]

NUM_PROBE_ROWS = 32
"""Calibration rows on which a merged model is compared with the unmerged one."""


class Fitted(NamedTuple):
    """history: losses and monitored figures by step. parts: what was prepared, its models trained."""

    history: list[dict[str, Any]]
    parts: Mapping[str, Prepared]


@missing_peers()
def train_run(
    config: RunConfig,
    *,
    is_resumed: bool = False,
    is_merged: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    notify: Notify = lambda message: None,
) -> Path:
    """Train, calibrate, choose the threshold, save.

    Args:
        config: The run.
        is_resumed: Go on from the last whole checkpoint of the run directory.
        is_merged: Add the adapter into the weights, so that the model directory is whole.
        callbacks: Trainer callbacks, such as a progress display.
        notify: Called with a line at each stage.

    Returns:
        The run directory.

    Raises:
        ConfigError: The run directory exists (or, resuming, holds another configuration), or what is to be merged can't
            be.
        ArtifactError: Another process trains in the run directory.
        TrainingError: Another process of the run is gone.
    """
    if is_merged and config.model.tuning == "activated":
        raise ConfigError("train: --merge needs an adapter that acts on every token; activated does not. Leave it out.")
    folder = RunFolder(Path(config.output))
    join()
    if rank():
        notify = _silent
    together(lambda: _check_fsdp(config))
    first(lambda: _check_claim(folder, config, is_resumed=is_resumed))
    if is_resumed and first(lambda: _is_complete(config, folder)):
        notify("This run is complete: there is nothing to resume.")
        leave()
        return folder.path
    parts = together(lambda: _prepared(config))
    with ExitStack() as held:
        first(lambda: _claim(folder, config, held, is_resumed=is_resumed))
        first(lambda: _begin_all(config, parts, notify=notify))
        if config.train.fsdp:
            notify("FSDP: no explanation is written while training; the weights are spread over the processes.")
        fitted = fit(config, parts, folder, is_resumed=is_resumed, callbacks=callbacks)
        leave()
        obey()
        if is_first():
            _finish_all(config, fitted, is_merged=is_merged, notify=notify)
    return folder.path


def _check_fsdp(config: RunConfig) -> None:
    """Whether the weights can be spread."""
    if config.train.fsdp and num_ranks() == 1:
        raise ConfigError(
            "train.fsdp must be false in a run of one process: there is nothing to spread over. Start several: "
            "clsgen train ... --launch accelerate --num-processes N --fsdp."
        )
    if config.train.fsdp and config.model.tuning in ("activated", "qlora"):
        raise ConfigError(
            f"train.fsdp can't spread model.tuning: {config.model.tuning}; "
            + ("its weights are 4-bit blocks. " if config.model.tuning == "qlora" else "it reads weights by itself. ")
            + "Leave --fsdp out, or use lora."
        )


def _silent(message: str) -> None:
    """Every process would say the same."""


def _configs(config: RunConfig) -> dict[str, RunConfig]:
    return part_configs(config) if is_joint(config) else {"": config}


def _prepared(config: RunConfig) -> dict[str, Prepared]:
    parts = prepare_questions(config) if is_joint(config) else {"": prepare(config)}
    check_trackers(config.train.report_to)
    return parts


def _begin_all(config: RunConfig, parts: Mapping[str, Prepared], *, notify: Notify) -> None:
    """Write what the run directory says before the first step, and tell it."""
    folder, configs = _made(RunFolder(Path(config.output)), parts.values()), _configs(config)
    for name, prepared in parts.items():
        _begin(configs[name], prepared, notify=_named(name, notify))
    save_config(config, folder.config_file)


def _finish_all(config: RunConfig, fitted: Fitted, *, is_merged: bool, notify: Notify) -> None:
    """Calibrate and save every model of the run."""
    notify("Calibrating on the calibration rows, through the serving path.")
    configs, (history, parts) = _configs(config), fitted
    bundles = {name: _finish(configs[name], prepared, history) for name, prepared in parts.items()}
    if is_merged:  # when every adapter is saved: merging takes it out of the language model that they share
        for name, bundle in bundles.items():
            whole = merged_and_compared(bundle, parts[name].split.roles["calibration"])
            save_bundle(whole, RunFolder(Path(configs[name].output)).model)
    if is_joint(config):
        link_same_files([RunFolder(Path(each.output)).model for each in configs.values()])
        write_json_atomic(RunFolder(Path(config.output)).manifest, {"questions": list(parts), "history": history})


def _made(folder: RunFolder, parts: Iterable[Prepared]) -> RunFolder:
    """The run directory, shut to others where a task is restricted."""
    make_folder(folder.path)
    if any(prepared.spec.is_restricted for prepared in parts):
        folder.path.chmod(0o700)  # tokenizer, checkpoints and weights were made from the texts too
    return folder


def _named(name: str, notify: Notify) -> Notify:
    return (lambda message: notify(f"{name}: {message}")) if name else notify


def _begin(config: RunConfig, prepared: Prepared, *, notify: Notify) -> None:
    """Write settings, rows and the record of a question's run directory, and tell what it has."""
    folder = _made(RunFolder(Path(config.output)), [prepared])
    hashes = _write_rows(folder, prepared)
    save_config(config, folder.config_file)
    record = _record(config, prepared, hashes)
    write_json_atomic(folder.manifest, record)
    notify(summary(config, prepared))
    for role, count in record["shared_with_test"].items():
        notify(f"Leak, allowed by data.allow_leaks: {count} test rows share a group or document with {role}.")


def _finish(config: RunConfig, prepared: Prepared, history: list[dict[str, Any]]) -> Bundle:
    """Calibrate, choose the threshold, save the model directory."""
    folder, rows = RunFolder(Path(config.output)), prepared.split.roles["calibration"]
    try:
        bundle = calibrated(_uncalibrated(config, prepared), rows, config.calibrate, predict=config.predict)
    except CalibrationError as error:
        raise CalibrationError(
            f"{error} The training is kept: run the same command with --resume and another calibrate.* setting."
        ) from error
    save_bundle(bundle, folder.model)
    write_json_atomic(folder.manifest, read_record(folder.manifest) | {"history": history})
    return bundle


def fit(
    config: RunConfig,
    parts: Mapping[str, Prepared],
    folder: RunFolder,
    *,
    is_resumed: bool,
    callbacks: Sequence[TrainerCallback] = (),
) -> Fitted:
    """Run the trainer; the models of `parts`, one a question, are the best ones afterwards.

    Returns:
        The log, and `parts` themselves or, of spread weights, what was built anew in their place.
    """
    task, train = task_of(config, parts), config.train
    trainer = DualTrainer(
        task.model,
        training_arguments(train, folder.checkpoints, has_validation=bool(task.validation)),
        train_rows=task.train,
        validation_rows=task.validation,
        objective=objective_of(train, task.class_weights, task.spans),
        pad_id=next(iter(parts.values())).built.pad_id,
        on_evaluate=task.on_evaluate,
        is_sharded=train.fsdp,
        callbacks=[*callbacks, *early_stopping(train.patience)],
    )
    checkpoint = first(lambda: last_whole_checkpoint(folder.checkpoints)) if is_resumed else None
    if rank():  # dropout of its own; the first process draws what a single one would
        set_seed(train.seed + rank())
    if checkpoint is not None and (state := finished_state(checkpoint)) is not None:
        best = state["best_model_checkpoint"]
        trainer.restore_best(checkpoint if best is None else folder.checkpoints / Path(best).name)
    else:
        with blocked_attention(task.model.language_model) if is_bfloat16(train) else nullcontext():
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        state = {"log_history": trainer.state.log_history}
    if train.fsdp:
        parts = _built_anew(config, trainer, parts)
    else:
        hand_out(task, parts)
    return Fitted(state["log_history"], parts)


def _built_anew(config: RunConfig, trainer: DualTrainer, parts: Mapping[str, Prepared]) -> Mapping[str, Prepared]:
    """The parts with models that hold all weights, the trained ones among them; in the first process alone."""
    weights = trainer.trained_weights()
    if rank():
        return parts
    parts = _prepared(config)
    task = task_of(config, parts)
    task.model.load_trained_state(weights, where="the processes' parts")
    hand_out(task, parts)
    return parts


def _uncalibrated(config: RunConfig, prepared: Prepared) -> Bundle:
    built, spec = prepared.built, prepared.spec
    return Bundle(
        model=built.model.eval(),
        renderer=built.renderer,
        tokenizer=built.tokenizer,
        spec=spec,
        calibrator=identity_calibrator(spec),
        rule=identity_rule(spec),
        base=built.base,
        dtype=config.model.dtype,
        pad_id=built.pad_id,
        has_explanations=prepared.has_explanations,
        no_repeat_ngram=config.predict.no_repeat_ngram,
    )


def merged_and_compared(bundle: Bundle, rows: Sequence[Example]) -> Bundle:
    """The merged model, if it gives the same probabilities on probe rows.

    Raises:
        ArtifactError: A probability moves by more than 1e-4 (float32) or 0.01 (bfloat16).
    """
    probe = list(rows[:NUM_PROBE_ROWS])
    before = Classifier(bundle).predict_proba(probe)
    whole = merged(bundle)
    moved = float(abs(Classifier(whole).predict_proba(probe) - before).max())
    tolerance = 1e-4 if bundle.dtype == "float32" else 0.01
    if moved > tolerance:
        raise ArtifactError(
            f"merging must leave every probability within {tolerance} on {len(probe)} probe rows; one moved by "
            f"{moved:.4f}. The unmerged model is saved; use that, or train with model.dtype: float32."
        )
    return whole


def finished_state(checkpoint: Path) -> dict[str, Any] | None:
    """The trainer's state of a checkpoint after which no step is left (all done, or stopped early); else None."""
    state = read_record(checkpoint / "trainer_state.json")
    control = state["stateful_callbacks"]["TrainerControl"]["args"]
    return state if control["should_training_stop"] or state["global_step"] >= state["max_steps"] else None


def _is_complete(config: RunConfig, folder: RunFolder) -> bool:
    """Whether every model directory of the run stands."""
    parts = [Path(each.output) for each in part_configs(config).values()] if is_joint(config) else [folder.path]
    return all((RunFolder(part).model / "clsgen.json").is_file() for part in parts)


def _check_claim(folder: RunFolder, config: RunConfig, *, is_resumed: bool) -> None:
    """Whether the run directory is free, or is the run to go on with; nothing is written yet."""
    if is_resumed:
        if not folder.config_file.is_file():
            raise ArtifactError(f"{folder.path}: --resume needs a run to go on with; none is there. Leave it out.")
        _check_same_steps(folder, config)
    elif folder.config_file.exists():
        raise ConfigError(
            f"output must be a new run directory; {folder.path} holds a run. Choose another (output=...), delete it, "
            "or go on with it by --resume."
        )


def _claim(folder: RunFolder, config: RunConfig, held: ExitStack, *, is_resumed: bool) -> None:
    """Keep other trainings out until the end; one of them may have begun the run while this one prepared."""
    try:
        held.enter_context(locked(folder.lock, doing="training in this run directory"))
    except OSError as error:
        raise ArtifactError(f"{folder.lock}: must be lockable; {error.strerror}. Choose another output.") from error
    _check_claim(folder, config, is_resumed=is_resumed)


def _check_same_steps(folder: RunFolder, config: RunConfig) -> None:
    """The configuration is the one that the run began with, where it says how the model is trained.

    A step's rows may be shared out to more or fewer processes, and what comes after the last step may be another until
    it is done.
    """
    began = load_config(folder.config_file)
    manifest = RunFolder(Path(next(iter(_configs(config).values())).output)).manifest  # of a question as of a run
    num_now = config.train.gradient_accumulation * num_ranks()
    num_batches = read_record(manifest)["batches_per_step"] if manifest.is_file() else num_now
    free = {name: getattr(began.train, name) for name in ("gradient_accumulation", "fsdp")}
    after = {} if _is_complete(config, folder) else {"calibrate": began.calibrate, "evaluate": began.evaluate}
    same = config.model_copy(update={"train": config.train.model_copy(update=free), **after})
    if began != same:
        raise ConfigError(
            f"{folder.path}: --resume needs the configuration that the run began with; this one differs from "
            f"{folder.config_file.name} there: {_difference(began, same)}. Undo the change, or choose another output."
        )
    if num_batches % num_ranks():
        fitting = [str(number) for number in range(1, num_batches + 1) if num_batches % number == 0]
        raise ConfigError(
            f"{folder.path}: --resume needs steps of {num_batches} batches as before, which {num_ranks()} processes "
            f"can't share. Start one of these numbers of them: {', '.join(fitting)}."
        )
    if num_batches != num_now:
        raise ConfigError(
            f"{folder.path}: --resume needs steps of {num_batches} batches as before; {num_ranks()} process(es) would "
            f"take {num_now}. Set train.gradient_accumulation={num_batches // num_ranks()}."
        )


def _difference(began: RunConfig, now: RunConfig) -> str:
    """Each setting that is another one than before, with both values."""
    before, after = _flat(began.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name} was {before.get(name)!r} and is {after.get(name)!r}" for name in names)


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """section.key -> value."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _write_rows(folder: RunFolder, prepared: Prepared) -> dict[str, str]:
    """Write the rows of every role; returns role -> SHA-256.

    Raises:
        ArtifactError: A resumed run sees others than it began with; those that stand there are left as they are.
    """

    def write(place: RunFolder) -> dict[str, str]:
        split, is_restricted = prepared.split, prepared.spec.is_restricted
        return place.write_rows(split.roles, split.groups, is_restricted=is_restricted)

    if not folder.manifest.is_file():
        return write(folder)
    with tempfile.TemporaryDirectory(prefix=".rows-", dir=folder.path) as beside:
        hashes = write(RunFolder(Path(beside)))
    if read_record(folder.manifest)["data_hashes"] != hashes:
        raise ArtifactError(
            f"{folder.path}: --resume needs the rows that the run began with; the data has changed since. "
            "Restore it, or choose another output."
        )
    return hashes


def _record(config: RunConfig, prepared: Prepared, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What the manifest says of a run before its first step."""
    return {
        **run_record(config, hashes),
        "dropped": dict(prepared.dropped),
        "explanation_sources": dict(prepared.sources),
        "num_processes": num_ranks(),
        "batches_per_step": config.train.gradient_accumulation * num_ranks(),
        "restricted": prepared.spec.is_restricted,
        "rows": _num_rows(prepared.split),
        "shared_with_test": {
            overlap.first: overlap.num_second_rows for overlap in check_disjoint(prepared.split, allow_leaks=True)
        },
    }


def _num_rows(split: Split) -> dict[str, dict[str, int]]:
    return {role: dict(Counter(str(row.label) for row in rows)) for role, rows in split.roles.items()}
