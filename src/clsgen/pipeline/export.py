"""A trained run in another tool's form, compared on probe rows before it is let out. N rows, C classes, D hidden."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.special import softmax

from clsgen.artifacts import compare_manifest, write_json_atomic
from clsgen.errors import ArtifactError, ConfigError
from clsgen.export.card import Parity, Refit, export_card
from clsgen.export.folded import class_logits, fold
from clsgen.export.record import FoldedRecord
from clsgen.export.standard import causal_model, sequence_classifier
from clsgen.inference.predictor import Classifier
from clsgen.model import adapter, backbone, sequence
from clsgen.model.checkpoint import ADAPTER_FILE, HEAD_FILE, Bundle, find_base, strip_paths, write_folder
from clsgen.pipeline.calibrate import calibrated
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.loading import classifier_of
from clsgen.types import Example

Form = Literal["folded", "seqcls", "causal-lm", "peft"]

EXPORT_FILE = "export.json"
"""What marks a folder as an export: its form, and what was measured."""
NUM_PROBE_ROWS = 32
NUM_LIFT_ROWS = 256
"""Calibration rows on which an export is compared, and on which a folded model's lift is chosen."""

_Probs = NDArray[np.float64]


class _Job(NamedTuple):
    """bundle: the model, used up by most forms. run: where it came from. rows: calibration rows. base: as given."""

    bundle: Bundle
    run: RunFolder
    rows: Sequence[Example]
    base: str | None

    @property
    def probe(self) -> Sequence[Example]:
        """Rows that the export is compared on."""
        return self.rows[:NUM_PROBE_ROWS]


class Exported(NamedTuple):
    """folder: what was written. parity: what was measured, the same as on the card."""

    folder: Path
    parity: Parity


def export_run(run: Path, form: Form, output: Path, *, is_refit: bool = False, base: str | None = None) -> Exported:
    """Write a run's model in another form.

    Args:
        run: Run directory.
        form: Which form.
        output: Directory to write; an existing one is replaced when the new one is whole.
        is_refit: seqcls: fit a temperature on the calibration rows, for a model whose calibrator has biases.
        base: Where the base weights are, if they moved.

    Raises:
        ConfigError: The form can't say what this model says; the message tells why.
        ModelError: The architecture has no such form.
        ArtifactError: A probability moved by more than 1e-4 (float32) or 0.01 (bfloat16), or the disk is full.
    """
    folder = RunFolder(run)
    _check_output(output, folder)
    classifier = classifier_of(folder, base=base)
    rows = folder.rows("calibration")
    refit = None
    if is_refit:
        if form != "seqcls":
            raise ConfigError(f"export: --refit is for --format seqcls; got {form}. Leave it out.")
        settings = folder.config().calibrate.model_copy(update={"method": "temperature"})
        own = classifier
        classifier = Classifier(calibrated(own.bundle, rows, settings, predict=folder.config().predict))
        refit = _moved_by_refit(own, classifier, rows[:NUM_PROBE_ROWS])
    job = _Job(classifier.bundle, folder, rows, base)
    before = _PROBS[form](classifier, job.probe)
    found: list[Parity] = []

    def write(temp: Path) -> None:
        _WRITE[form](job, temp)
        after = _READ[form](job, temp)
        found.append(_compared(job.bundle, before, after, is_decided=form != "causal-lm")._replace(refit=refit))
        write_json_atomic(temp / EXPORT_FILE, {"form": form, "parity": _record(found[0])})
        (temp / "README.md").write_text(export_card(job.bundle, form, found[0]), encoding="utf-8")

    write_folder(output, write)
    return Exported(output, found[0])


def _check_output(output: Path, folder: RunFolder) -> None:
    """Refuse to write where anything stands but an earlier export, as it was written."""
    inside = output.absolute()
    if inside == folder.path.absolute() or folder.model.absolute() in (inside, *inside.parents):
        raise ConfigError(f"export: the output must not be the run itself or within its model; got {output}.")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"export: {output} must be a folder; it is a file. Name another.")
    if output.exists() and any(output.iterdir()) and not _is_export(output):
        raise ConfigError(
            f"export: {output} must be new, empty or an earlier export; it holds other files, or changed ones. "
            "Name another."
        )


def _is_export(folder: Path) -> bool:
    try:
        return (folder / EXPORT_FILE).is_file() and not any(compare_manifest(folder))
    except ArtifactError:
        return False


def _moved_by_refit(own: Classifier, refitted: Classifier, rows: Sequence[Example]) -> Refit:
    """What fitting the calibrator anew does to the run's own probabilities and decisions."""
    logits = own.class_logits(rows)
    before, after = (each.bundle.calibrator.probs(logits) for each in (own, refitted))
    changed = own.bundle.rule.decide(before) != refitted.bundle.rule.decide(after)
    moved = np.abs(after - before)
    return Refit(float(moved.max()), float(moved.mean()), int(changed.sum()), own.bundle.rule.threshold)


def _record(parity: Parity) -> dict[str, object]:
    return parity._asdict() | {"refit": None if parity.refit is None else parity.refit._asdict()}


def _compared(bundle: Bundle, before: _Probs, after: _Probs, *, is_decided: bool) -> Parity:
    moved = np.abs(after - before)
    tolerance = 1e-4 if bundle.dtype == "float32" else 0.01
    num_changed = int((bundle.rule.decide(before) != bundle.rule.decide(after)).sum()) if is_decided else 0
    parity = Parity(len(before), float(moved.max()), float(moved.mean()), num_changed, tolerance)
    if not parity.largest <= tolerance:
        raise ArtifactError(
            f"export: every probability must stay within {tolerance:g} on {parity.num_rows} probe rows; one moved by "
            f"{parity.largest:.2g}. Nothing was written. Train with model.dtype: float32, or serve it with clsgen."
        )
    return parity


# ---- what the model itself says ----


def _own(classifier: Classifier, rows: Sequence[Example]) -> _Probs:
    return classifier.predict_proba(rows)


def _own_softmax(classifier: Classifier, rows: Sequence[Example]) -> _Probs:
    """Before they are held within what the calibration rows can vouch for: a stock head has no such bounds."""
    calibrator = classifier.bundle.calibrator
    found: _Probs = softmax(classifier.class_logits(rows) * calibrator.slopes + np.array(calibrator.biases), axis=1)
    return found


def _own_next(classifier: Classifier, rows: Sequence[Example]) -> _Probs:
    return _next_token(classifier.bundle, classifier.bundle.model.language_model, rows)


@torch.inference_mode()
def _next_token(bundle: Bundle, language_model: torch.nn.Module, rows: Sequence[Example]) -> _Probs:
    """Probabilities of what is written first after each prompt, (N, V)."""
    found = []
    for row in rows:
        ids = torch.tensor([bundle.renderer.prompt(row.document, row.question).ids], device=bundle.model.device)
        logits_V = language_model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]
        found.append(torch.softmax(logits_V.double(), dim=-1).cpu().numpy())
    return np.stack(found)


# ---- writing ----


def _write_folded(job: _Job, temp: Path) -> None:
    prompts = [job.bundle.renderer.prompt(row.document, row.question).ids for row in job.rows[:NUM_LIFT_ROWS]]
    folded = fold(job.bundle, prompts)
    ends = (job.bundle.renderer.template.end_id, job.bundle.pad_id)
    backbone.set_special_ids(folded.language_model, pad_id=ends[1], end_id=ends[0])
    _save(folded.language_model, folded.tokenizer, temp)
    folded.record.save(temp)


def _write_seqcls(job: _Job, temp: Path) -> None:
    _save(*sequence_classifier(job.bundle), temp)


def _write_causal(job: _Job, temp: Path) -> None:
    _save(*causal_model(job.bundle), temp)


def _write_peft(job: _Job, temp: Path) -> None:
    if job.bundle.model.tuning not in ("lora", "qlora"):
        raise ConfigError(
            "export: peft needs an adapter that PEFT applies by itself; this model was tuned by "
            f"{job.bundle.model.tuning}. "
            "Use --format causal-lm, or share the model directory."
        )
    for name in ("adapter_config.json", ADAPTER_FILE, HEAD_FILE):
        shutil.copyfile(job.run.model / name, temp / name)
    job.bundle.tokenizer.save_pretrained(str(temp))
    strip_paths(temp / "tokenizer_config.json")


def _save(model: object, tokenizer: object, temp: Path) -> None:
    for part in (model, tokenizer):
        part.save_pretrained(str(temp))  # type: ignore[attr-defined]
    for name in ("config.json", "tokenizer_config.json"):
        strip_paths(temp / name)


# ---- reading back, by stock classes ----


def _read_folded(job: _Job, temp: Path) -> _Probs:
    record = FoldedRecord.load(temp)
    prompts = [job.bundle.renderer.prompt(row.document, row.question).ids for row in job.probe]
    model = backbone.load_backbone(str(temp), dtype=job.bundle.dtype).to(job.bundle.model.device).eval()
    return record.calibrator.probs(class_logits(model, record, prompts))


@torch.inference_mode()
def _read_seqcls(job: _Job, temp: Path) -> _Probs:
    model, tokenizer = sequence.load_classifier(str(temp), dtype=job.bundle.dtype)
    found = []
    for row in job.probe:
        texts = (row.document, row.question) if row.question else (row.document,)
        logits_C = model(**tokenizer(*texts, return_tensors="pt")).logits[0]
        found.append(torch.softmax(logits_C.double(), dim=-1).numpy())
    return np.stack(found)


def _read_causal(job: _Job, temp: Path) -> _Probs:
    model = backbone.load_backbone(str(temp), dtype=job.bundle.dtype).to(job.bundle.model.device).eval()
    return _next_token(job.bundle, model, job.probe)


def _read_peft(job: _Job, temp: Path) -> _Probs:
    """The adapter around the base, and the head by hand."""
    state = load_file(temp / ADAPTER_FILE)
    base = backbone.load_backbone(
        find_base(job.run.model, job.bundle.base, job.base), revision=job.bundle.base.revision, dtype=job.bundle.dtype
    )
    adapted = adapter.load_adapter(base, temp, state).eval()
    weight_CD = load_file(temp / HEAD_FILE)["weight"]
    logits = []
    with torch.inference_mode():
        for row in job.probe:
            ids = torch.tensor([job.bundle.renderer.prompt(row.document, row.question).ids])
            hidden_D = backbone.body_of(adapted)(input_ids=ids, use_cache=False).last_hidden_state[0, -1]
            logits.append((weight_CD @ hidden_D.float()).numpy())
    return job.bundle.calibrator.probs(np.stack(logits))


_PROBS: dict[Form, Callable[[Classifier, Sequence[Example]], _Probs]] = {
    "folded": _own,
    "seqcls": _own_softmax,
    "causal-lm": _own_next,
    "peft": _own,
}
_WRITE: dict[Form, Callable[[_Job, Path], None]] = {
    "folded": _write_folded,
    "seqcls": _write_seqcls,
    "causal-lm": _write_causal,
    "peft": _write_peft,
}
_READ: dict[Form, Callable[[_Job, Path], _Probs]] = {
    "folded": _read_folded,
    "seqcls": _read_seqcls,
    "causal-lm": _read_causal,
    "peft": _read_peft,
}
