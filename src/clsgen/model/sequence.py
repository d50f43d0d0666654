"""The stock sequence classifier of an architecture, made of a causal model and a class head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from clsgen.errors import ModelError
from clsgen.model.backbone import DTYPES


def sequence_classifier(
    model: PreTrainedModel, weight_CD: Tensor, labels: Sequence[str], *, pad_id: int
) -> PreTrainedModel:
    """The stock sequence classifier of the architecture, with this backbone and these rows as its head.

    Args:
        model: A stock causal model.
        weight_CD: Rows of the head.
        labels: Names of the classes.
        pad_id: Padding: the head reads the last token that is none.

    Raises:
        ModelError: The architecture has no such class, or its head is not one linear layer without bias.
    """
    config = copy.deepcopy(model.config)
    config.pad_token_id = pad_id
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    try:
        found = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    except ValueError as error:
        raise ModelError(f"export: {config.model_type} has no stock sequence classifier; {error}") from error
    score = getattr(found, "score", None)
    if not isinstance(score, nn.Linear) or score.bias is not None:
        raise ModelError(
            f"export: the head of {type(found).__name__} must be one linear layer without bias. Use --format folded."
        )
    found.base_model.load_state_dict(model.base_model.state_dict())
    with torch.no_grad():
        score.weight.copy_(weight_CD.to(score.weight.dtype))
    return cast(PreTrainedModel, found.eval())


def load_classifier(folder: str, *, dtype: str) -> tuple[PreTrainedModel, Any]:
    """A stock sequence classifier and its tokenizer, as anybody loads them."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=DTYPES[dtype])
    return cast(PreTrainedModel, model.eval()), AutoTokenizer.from_pretrained(folder)
