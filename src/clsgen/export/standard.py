"""The two halves as stock models: a sequence classifier, and a causal model that explains."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, processors
from transformers import PreTrainedTokenizerFast

from clsgen.errors import ConfigError
from clsgen.export.refusals import check_linear, check_mergeable
from clsgen.model import backbone, sequence
from clsgen.model.checkpoint import Bundle, merged


def sequence_classifier(bundle: Bundle) -> tuple[Any, PreTrainedTokenizerFast]:
    """A stock sequence classifier whose softmax is the calibrated probability; the bundle's own model is used up.

    Its tokenizer puts template and instruction around the text by itself, so that whoever gives it a text, or a text
    and a question, asks what clsgen would ask.

    Raises:
        ConfigError: An activated adapter, 4-bit weights, an isotonic calibrator, or one with biases, for which a
            stock head has no place.
        ModelError: The architecture has no stock sequence classifier.
    """
    check_mergeable(bundle)
    check_linear(bundle)
    if any(bundle.calibrator.biases):
        raise ConfigError(
            "export: the calibrator must be a temperature alone, since a stock head has no biases; this one has "
            f"biases {', '.join(f'{bias:.3f}' for bias in bundle.calibrator.biases)}. Pass --refit to fit a "
            "temperature on the calibration rows for the export; probabilities then differ from the model's own."
        )
    whole = merged(bundle)
    slopes_C = torch.tensor(bundle.calibrator.slopes, dtype=torch.float32, device=whole.model.device)
    model = sequence.sequence_classifier(
        backbone.base_of(whole.model.language_model),
        slopes_C[:, None] * whole.model.head.weight.detach(),
        bundle.spec.labels,
        pad_id=bundle.pad_id,
    )
    return model, templated_tokenizer(bundle)


def templated_tokenizer(bundle: Bundle) -> PreTrainedTokenizerFast:
    """A tokenizer that renders: text -> prompt ids, (text, question) -> prompt ids.

    It cuts a text that is too long at its end, whatever the model's own way; control tokens in a text stay text.
    """
    before, between, after = bundle.renderer.pieces
    backend = Tokenizer.from_str(bundle.tokenizer.backend_tokenizer.to_str())
    names = {"[BEFORE]": before, "[BETWEEN]": between, "[AFTER]": after}
    special = [
        {"id": name, "ids": ids, "tokens": [backend.id_to_token(index) for index in ids]}
        for name, ids in names.items()
        if ids
    ]
    first, middle, last = (name if ids else "" for name, ids in names.items())
    backend.post_processor = processors.TemplateProcessing(
        single=" ".join(f"{first} $A {middle} {last}".split()),
        pair=" ".join(f"{first} $A {middle} $B {last}".split()),
        special_tokens=special,
    )
    side = "left" if bundle.renderer.template.truncation == "head" else "right"
    room = bundle.renderer.template.max_prompt_tokens
    backend.enable_truncation(room, strategy="only_first", direction=side)
    pad = bundle.tokenizer.convert_ids_to_tokens(bundle.pad_id)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=pad,
        model_max_length=room,
        truncation_side=side,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    made.model_input_names = ["input_ids", "attention_mask"]
    return made


def causal_model(bundle: Bundle) -> tuple[Any, Any]:
    """The stock causal model with the adapter in its weights, and the tokenizer; the bundle's own model is used up.

    Raises:
        ConfigError: An activated adapter, or 4-bit weights.
    """
    check_mergeable(bundle)
    model = backbone.base_of(merged(bundle).model.language_model)
    backbone.set_special_ids(model, pad_id=bundle.pad_id, end_id=bundle.renderer.template.end_id)
    return model, bundle.tokenizer
