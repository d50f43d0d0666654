"""Models that have weights in common, loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from clsgen.artifacts import model_record, read_record
from clsgen.model import backbone
from clsgen.model.checkpoint import HEAD_FILE, BaseRecord, Bundle, load_bundle

_OWN_FILES = (
    HEAD_FILE,
    "calibrator.json",
    "decision.json",
    "similar.json",
    "template.json",
    "clsgen.json",
    "README.md",
)
"""Files of a model directory that may differ between models with the same language model."""


class Identity(NamedTuple):
    """What two model directories are compared by.

    Attributes:
        language: Equal where the language models are the same, adapters included.
        reading: Equal where documents are read by the same weights: an activated adapter does not act on them.
        is_frozen: Whether the base's weights stay as they are in memory, so that others may use them.
    """

    language: tuple[str, ...]
    reading: tuple[str, ...]
    is_frozen: bool


def identity_of(folder: Path) -> Identity:
    """By the hashes in its manifest.

    Raises:
        ArtifactError: clsgen.json or the manifest is missing or broken.
    """
    record, files = model_record(folder), read_record(folder / "manifest.json")
    base = BaseRecord(**record["base"])
    where = (str(base.weights_sha256), str(record["dtype"]))
    weights = sorted(f"{name} {digest}" for name, digest in files.items() if name not in _OWN_FILES)
    language = (*where, str(record["tuning"]), *weights)
    is_frozen = record["tuning"] in ("activated", "head_only") and base.weights_sha256 is not None
    return Identity(language, where if is_frozen else language, is_frozen)


def load_bundles(
    folders: Mapping[str, Path], *, base: str | None = None, device: str | torch.device | None = None
) -> dict[str, Bundle]:
    """Load model directories; the same language model once, and the same frozen base once.

    Args:
        folders: Name -> model directory.
        base: As for `load_bundle`, of all of them.
        device: As for `load_bundle`.

    Raises:
        ArtifactError, TemplateError: As for `load_bundle`.
    """
    bundles: dict[str, Bundle] = {}
    languages: dict[tuple[str, ...], nn.Module] = {}
    bases: dict[tuple[str, ...], nn.Module] = {}
    for name, folder in folders.items():
        identity = identity_of(folder)
        bundle = load_bundle(folder, base=base, device=device, language_model=languages.get(identity.language))
        languages[identity.language] = bundle.model.language_model
        if identity.is_frozen:
            _use_weights(bundle.model.language_model, bases.setdefault(identity.reading, bundle.model.language_model))
        bundles[name] = bundle
    return bundles


def _use_weights(model: nn.Module, other: nn.Module) -> None:
    """Let a model use the base weights of another one that has the same."""
    theirs = {_plain_name(name): parameter for name, parameter in backbone.base_of(other).named_parameters()}
    for name, parameter in backbone.base_of(model).named_parameters():
        if "lora_" not in name:
            parameter.data = theirs[_plain_name(name)].data


def _plain_name(name: str) -> str:
    """Of a weight that an adapter may stand around."""
    return name.replace(".base_layer", "")
