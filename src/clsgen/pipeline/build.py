"""From settings to a dual-head model with its tokenizer and template."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from clsgen.config.model import ModelSettings
from clsgen.data.template import Renderer, Template, build_template, sealed
from clsgen.data.tokenizer import ensure_pad, train_tokenizer
from clsgen.errors import ConfigError
from clsgen.model import adapter, backbone
from clsgen.model.card import is_marked_restricted
from clsgen.model.checkpoint import BaseRecord, base_record
from clsgen.model.dual import DualModel
from clsgen.model.embedded import located
from clsgen.model.head import ClassHead
from clsgen.types import Example, TaskSpec


class Language(NamedTuple):
    """A language model before training, with its adapter in place; several heads may stand on it."""

    model: nn.Module
    tokenizer: Any
    pad_id: int
    base: BaseRecord


class Built(NamedTuple):
    """A model before training: both heads, the one rendering, tokenizer, padding, and where its base is."""

    model: DualModel
    renderer: Renderer
    tokenizer: Any
    pad_id: int
    base: BaseRecord


def build(settings: ModelSettings, spec: TaskSpec, train: Sequence[Example], *, seed: int, folder: Path) -> Built:
    """Build the model of a run; arguments and errors as for `load_language`."""
    return with_head(settings, load_language(settings, {spec: train}, seed=seed, folder=folder), spec)


def load_language(
    settings: ModelSettings, train: Mapping[TaskSpec, Sequence[Example]], *, seed: int, folder: Path
) -> Language:
    """Load or make the language model of a run, and put its adapter in place.

    Args:
        settings: Backbone, tuning, rendering.
        train: Each task's rows of the train role; a scratch tokenizer is trained on them and on no others.
        seed: Of a scratch model's weights.
        folder: Where the model directory will stand.

    Raises:
        ModelError: The backbone can't be loaded.
        ConfigError: Longer rows than the backbone was made for.
    """
    if settings.init == "scratch":
        texts = itertools.chain.from_iterable(_texts(spec, rows) for spec, rows in train.items())
        tokenizer = train_tokenizer(texts, vocabulary=settings.scratch.vocabulary)
        language_model = backbone.scratch_backbone(
            vocabulary=len(tokenizer),
            width=settings.scratch.width,
            num_layers=settings.scratch.num_layers,
            num_heads=settings.scratch.num_heads,
            max_length_tokens=settings.max_length_tokens,
            is_tied=settings.scratch.is_tied,
            seed=seed,
        ).to(backbone.DTYPES[settings.dtype])
        base = BaseRecord("scratch")
    else:
        name = str(settings.backbone)
        tokenizer = backbone.load_tokenizer(name, revision=settings.revision)
        language_model = backbone.load_backbone(
            name, revision=settings.revision, dtype=settings.dtype, is_quantized=settings.tuning == "qlora"
        )
        base = base_record(name, settings.revision, is_whole=settings.tuning == "full", folder=folder)
    _check_context(settings, backbone.context_tokens(language_model))
    end_id = _template(settings, tokenizer, next(iter(train))).end_id
    pad_id = ensure_pad(
        tokenizer,
        num_embeddings=language_model.get_input_embeddings().num_embeddings,
        end_ids=[end_id, *backbone.end_ids(language_model)],
    )
    backbone.set_special_ids(language_model, pad_id=pad_id, end_id=end_id)
    if settings.tuning in adapter.ADAPTED:
        language_model = adapter.add_lora(
            language_model,
            rank=settings.lora.rank,
            alpha=settings.lora.alpha,
            dropout=settings.lora.dropout,
            targets=settings.lora.targets,
        )
    return Language(language_model, tokenizer, pad_id, base)


def with_head(settings: ModelSettings, language: Language, spec: TaskSpec) -> Built:
    """A new class head on the language model, and the rendering of its task."""
    head = ClassHead(backbone.hidden_size(language.model), spec.num_labels)
    head.to(next(language.model.parameters()).device)  # 4-bit weights are on the GPU from the start
    model = DualModel(language.model, head, tuning=settings.tuning, starts_at=settings.lora.starts_at)
    renderer = sealed(_template(settings, language.tokenizer, spec), language.tokenizer)
    return Built(model, renderer, language.tokenizer, language.pad_id, language.base)


def preflight(settings: ModelSettings) -> None:
    """Everything about the backbone that can fail, before anything heavy.

    Raises:
        ModelError: Missing, gated or unreachable backbone.
        HardwareError: qlora without CUDA.
        ConfigError: qlora without bitsandbytes.
    """
    if settings.tuning == "qlora":
        backbone.require_for_qlora()
    if settings.init == "pretrained":
        backbone.preflight(str(settings.backbone), settings.revision)


def is_restricted(settings: ModelSettings) -> bool:
    """Whether the backbone was itself made from restricted data, by an earlier run or an export of one."""
    return settings.init == "pretrained" and is_marked_restricted(Path(located(str(settings.backbone))))


def _template(settings: ModelSettings, tokenizer: Any, spec: TaskSpec) -> Template:
    return build_template(
        tokenizer,
        spec,
        max_length_tokens=settings.max_length_tokens,
        max_explanation_tokens=settings.max_explanation_tokens,
        truncation=settings.truncation,
    )


def _check_context(settings: ModelSettings, context_tokens: int | None) -> None:
    if context_tokens is not None and settings.max_length_tokens > context_tokens:
        raise ConfigError(
            f"model.max_length_tokens must be at most {context_tokens}, the backbone's context; "
            f"got {settings.max_length_tokens}. Lower it; longer documents are then cut."
        )


def _texts(spec: TaskSpec, train: Sequence[Example]) -> Iterator[str]:
    fixed = [spec.instruction, "Reason: Answer: .", *(f" {label}" for label in spec.labels)]
    return itertools.chain(
        fixed,
        (example.document for example in train),
        (f" {example.question}" for example in train if example.question),
        (f" {example.explanation}" for example in train if example.explanation),
    )
