"""Ids of a vocabulary that nothing else uses, to carry the classes."""

from __future__ import annotations

import re
from typing import Any

from clsgen.data.template import Renderer
from clsgen.errors import ModelError
from clsgen.model import backbone
from clsgen.model.checkpoint import Bundle

_RESERVED = re.compile(r"reserved|unused|extra_\d", re.IGNORECASE)


def class_ids(bundle: Bundle) -> tuple[int, ...]:
    """An unused id a label: the vocabulary's last reserved ones, else rows that only pad the output layer.

    The latter are given names in the bundle's tokenizer, so that a server can speak of them.

    Raises:
        ModelError: There are too few.
    """
    num_labels, tokenizer = bundle.spec.num_labels, bundle.tokenizer
    taken = _used(bundle)
    reserved = [
        int(index)
        for index, token in sorted(tokenizer.added_tokens_decoder.items())
        if token.special and _RESERVED.search(str(token)) and int(index) not in taken
    ]
    if len(reserved) >= num_labels:
        return tuple(reserved[-num_labels:])
    num_rows, num_known = backbone.vocabulary_size(bundle.model.language_model), len(tokenizer)
    if num_rows - num_known >= num_labels:
        names = [f"<|class_{index}|>" for index in range(num_labels)]
        tokenizer.add_special_tokens({"additional_special_tokens": names}, replace_extra_special_tokens=False)
        return tuple(int(tokenizer.convert_tokens_to_ids(name)) for name in names)
    raise ModelError(
        f"export: the vocabulary must have {num_labels} ids that nothing uses; {len(reserved)} reserved ones and "
        f"{num_rows - num_known} rows of padding were found. Use --format seqcls and --format causal-lm."
    )


def _used(bundle: Bundle) -> set[int]:
    renderer: Renderer = bundle.renderer
    fixed = renderer.prompt("", "").ids
    ends = backbone.end_ids(backbone.base_of(bundle.model.language_model))
    return {*fixed, *ends, bundle.pad_id, renderer.template.end_id, *_special(bundle.tokenizer)}


def _special(tokenizer: Any) -> set[int]:
    """Ids that the tokenizer itself gives a role: begin, end, unknown, padding."""
    names = ("bos_token_id", "eos_token_id", "unk_token_id", "pad_token_id")
    return {found for name in names if (found := getattr(tokenizer, name, None)) is not None}
