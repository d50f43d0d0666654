"""Everything before the first step: rows in their roles with explanations, the model, the encoded rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from transformers import set_seed

from clsgen.config.run import RunConfig
from clsgen.data.batch import EncodedRows, encode_examples
from clsgen.data.split import Split
from clsgen.data.teacher.extractive import ExtractiveTeacher
from clsgen.errors import ConfigError, RestrictedError
from clsgen.evaluation.subgroups import check_column
from clsgen.model.calibration import check_counts
from clsgen.model.dual import DualModel
from clsgen.model.losses import balanced_weights, normalise_weights
from clsgen.pipeline.build import Built, Language, is_restricted, load_language, preflight, with_head
from clsgen.pipeline.explanations import with_explanations
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.rows import LoadedSplit, load_questions, load_split
from clsgen.training.objective import is_bfloat16
from clsgen.types import Example, Role, TaskSpec


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything before the first step.

    Attributes:
        spec: The task.
        split: Rows by role, explanations in place.
        built: The model, untrained.
        train: Encoded train rows.
        validation: Encoded validation rows, all in free mode.
        dropped: Reason -> rows or explanations left out while reading, splitting and encoding.
        sources: Where explanations came from -> train and validation rows; {} where the data brings its own.
        has_explanations: Whether any train row has a target.
        class_weights: Normalised weights in the order of the labels; None where all are 1.
        reference_bytes: Memory of the frozen second copy that KL needs with full tuning; 0 elsewhere.
    """

    spec: TaskSpec
    split: Split
    built: Built
    train: EncodedRows
    validation: EncodedRows
    dropped: Mapping[str, int]
    sources: Mapping[str, int]
    has_explanations: bool
    class_weights: tuple[float, ...] | None
    reference_bytes: int = 0


class _Rows(NamedTuple):
    """A task and its rows with their explanations, before there is a model; see `Prepared`."""

    spec: TaskSpec
    split: Split
    dropped: Mapping[str, int]
    sources: Mapping[str, int]
    class_weights: tuple[float, ...] | None


def prepare(config: RunConfig) -> Prepared:
    """Check the backbone, read and split the rows, build the model, encode.

    Raises:
        ClsgenError: Whatever is wrong with settings, data or backbone, found before training.
    """
    preflight(config.model)
    rows = _rows(config, load_split(config.data))
    set_seed(config.train.seed)
    language = _language(config, [rows])
    prepared = _encoded(config, rows, with_head(config.model, language, rows.spec))
    return replace(prepared, reference_bytes=prepare_model(config, prepared.built.model))


def prepare_questions(config: RunConfig) -> dict[str, Prepared]:
    """The same for a run that asks several questions: a head each on one language model, by name.

    Raises:
        ClsgenError: As for `prepare`.
    """
    preflight(config.model)
    rows = {name: _rows(config, loaded) for name, loaded in load_questions(config.data).items()}
    set_seed(config.train.seed)
    language = _language(config, list(rows.values()))
    return {name: _encoded(config, each, with_head(config.model, language, each.spec)) for name, each in rows.items()}


def _language(config: RunConfig, rows: Sequence[_Rows]) -> Language:
    train = {each.spec: each.split.roles["train"] for each in rows}
    folder = RunFolder(Path(config.output)).model
    return load_language(config.model, train, seed=config.train.seed, folder=folder)


def _rows(config: RunConfig, loaded: LoadedSplit) -> _Rows:
    """Rows in their roles, explained and counted; whatever is wrong with them is found here."""
    spec, split, dropped = loaded
    spec = replace(spec, is_restricted=spec.is_restricted or is_restricted(config.model))
    if spec.is_restricted and config.train.report_to:
        raise RestrictedError(f"train.report_to must be empty for the restricted task {spec.name}. Remove it.")
    weights = class_weights(config.train.class_weights, label_counts(split.roles["train"], spec))
    check_counts(label_counts(split.roles["calibration"], spec), method=config.calibrate.method)
    for name in config.data.columns.subgroups:
        check_column(name, [row.metadata.get(name) for row in split.roles["test"]])
    roles, sources = explained_roles(config, spec, split)
    return _Rows(spec, Split(roles, split.groups, split.dropped), dropped, sources, weights)


def _encoded(config: RunConfig, rows: _Rows, built: Built) -> Prepared:
    """The rows as ids."""
    roles = rows.split.roles
    has_explanations = config.train.explanation_weight > 0 and any(row.explanation for row in roles["train"])
    if has_explanations:
        built.renderer.check_room("free", "decision")
    train = encode_examples(
        roles["train"],
        built.renderer,
        with_targets=has_explanations,
        free_share=config.train.free_share,
        seed=config.train.seed,
    )
    validation = encode_examples(roles["validation"], built.renderer, with_targets=has_explanations)
    if config.train.monitor in ("explanation_loss", "perplexity") and not any(r.target_ids for r in validation.rows):
        raise ConfigError(
            f"train.monitor must be what the validation rows have; got {config.train.monitor!r}, and none of them has "
            "an explanation that fits (model.max_explanation_tokens). Choose loss or class_loss."
        )
    return Prepared(
        spec=rows.spec,
        split=rows.split,
        built=built,
        train=train,
        validation=validation,
        dropped=dict(Counter(rows.dropped) + Counter(train.dropped) + Counter(validation.dropped)),
        sources=rows.sources,
        has_explanations=has_explanations,
        class_weights=rows.class_weights,
    )


def prepare_model(config: RunConfig, model: DualModel) -> int:
    """Switch on what training needs beside the weights; bytes of the frozen copy, if one is kept."""
    if config.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    is_copied = config.train.kl_weight > 0 and config.model.tuning == "full"
    return model.keep_reference() if is_copied else 0


def label_counts(rows: Sequence[Example], spec: TaskSpec) -> tuple[int, ...]:
    """Labelled rows a class, in the order of the labels."""
    found = Counter(row.label for row in rows)
    return tuple(found[label] for label in spec.labels)


def class_weights(wanted: str | tuple[float, ...], counts: Sequence[int]) -> tuple[float, ...] | None:
    """Normalised weights from the train rows; None where all are 1.

    Args:
        wanted: none, balanced, or a weight a class.
        counts: Train rows a class.
    """
    if wanted == "none":
        return None
    return balanced_weights(counts) if isinstance(wanted, str) else normalise_weights(wanted, counts)


def explained_roles(
    config: RunConfig, spec: TaskSpec, split: Split
) -> tuple[dict[Role, tuple[Example, ...]], dict[str, int]]:
    """The roles with the explanations that the settings ask for, and counts of rows by where theirs came from.

    The extractive teacher is fitted on train rows only; validation rows get its explanations so that their
    perplexity can be watched; calibration and test rows get none.
    """
    roles = dict(split.roles)
    if config.data.explanations == "none":
        return {role: tuple(_bare(row) for row in rows) for role, rows in roles.items()}, {}
    if config.data.explanations == "column":
        return roles, {}
    explained: tuple[Role, ...] = ("train", "validation")
    counts: Counter[str] = Counter()
    if config.data.explanations == "teacher":
        for role in explained:
            roles[role] = with_explanations(config, roles[role])
            counts.update(str(row.metadata.get("explanation_source", "left without")) for row in roles[role])
        return roles, dict(counts)
    teacher = ExtractiveTeacher.fit(roles["train"], spec)
    for role in explained:
        rows, found = teacher.apply(roles[role])
        roles[role] = tuple(rows)
        counts.update(found)
    return roles, dict(counts)


def summary(config: RunConfig, prepared: Prepared) -> str:
    """A line of counts: rows, parameters, types, and what was left out."""
    rows, model = prepared.train.rows, prepared.built.model
    num_cut = sum(row.num_cut_tokens > 0 for row in rows)
    num_explained = sum(bool(row.target_ids) for row in rows)
    parts = [
        f"{len(rows)} train rows ({num_explained} with an explanation, {num_cut} documents cut)",
        f"{len(prepared.validation.rows)} validation rows",
        f"{model.num_parameters(trained_only=True):,} of {model.num_parameters():,} parameters trained",
        f"weights {config.model.dtype}, forward {'bfloat16' if is_bfloat16(config.train) else 'float32'}, head float32",
    ]
    if prepared.reference_bytes:
        parts.append(f"frozen copy for KL {prepared.reference_bytes / 2**20:,.1f} MiB")
    if prepared.sources:
        parts.append("explanations: " + _counts(prepared.sources))
    if prepared.dropped:
        parts.append("left out: " + _counts(prepared.dropped))
    return "; ".join(parts) + "."


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _bare(example: Example) -> Example:
    return Example(
        example.id, example.document, example.question, example.label, None, example.groups, example.metadata
    )
