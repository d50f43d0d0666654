"""What is watched while a model trains: discrimination and calibration of the head, fluency of the reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clsgen.data.explanations import distinct_share, repetition
from clsgen.data.template import Prompt, Renderer
from clsgen.evaluation.metrics import auroc, brier
from clsgen.inference.engine import Engine
from clsgen.inference.fast_engine import make_engine
from clsgen.model.dual import DualModel
from clsgen.training.trainer import OnEvaluate
from clsgen.types import Example

MONITOR_BATCH = 16


def monitor(renderer: Renderer, validation: Sequence[Example], *, pad_id: int, num_explanations: int) -> OnEvaluate:
    """A callback for the trainer.

    Args:
        renderer: The one rendering.
        validation: Rows of the validation role; the first `num_explanations` in order of id are explained.
        pad_id: Padding.
        num_explanations: 0: no text is generated.

    Returns:
        A function that gives auroc, brier and, where reasons are generated, ended_share, distinct_1, distinct_2 and
        repetition (share of 4-grams
        that came before in the same reason). An undefined figure is left out.
    """
    watched = sorted(validation, key=lambda example: example.id)[:num_explanations]
    prompts = [renderer.prompt(example.document, example.question) for example in watched]

    def on_evaluate(model: DualModel, class_logits_NC: Tensor, labels_N: Tensor) -> Mapping[str, float]:
        figures = _probability_figures(class_logits_NC, labels_N)
        if prompts:
            figures |= _text_figures(
                make_engine(model, pad_id=pad_id, end_id=renderer.template.end_id), renderer, prompts
            )
        return {name: value for name, value in figures.items() if not math.isnan(value)}

    return on_evaluate


def _probability_figures(class_logits_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
    if not len(labels_N):
        return {}
    probs_NC = torch.softmax(class_logits_NC.double(), dim=-1).numpy()
    probs = probs_NC[:, 1] if probs_NC.shape[1] == 2 else probs_NC
    return {
        "auroc": float(auroc(probs, labels_N.numpy())),
        "brier": float(brier(probs, labels_N.numpy())),
    }


def _text_figures(engine: Engine, renderer: Renderer, prompts: Sequence[Prompt]) -> dict[str, float]:
    forced = renderer.forced("free")
    room = renderer.template.max_explanation_tokens - len(forced)
    texts, ended = [], []
    for start in range(0, len(prompts), MONITOR_BATCH):
        chunk = prompts[start : start + MONITOR_BATCH]
        for generated in engine.generate(engine.prefill(chunk), [forced] * len(chunk), max_new_tokens=room):
            texts.append(renderer.parse(generated.ids, "free").text)
            ended.append(generated.has_ended)
    runs = sum(repetition(text).num_ngrams for text in texts)
    repeated = sum(repetition(text).num_repeated for text in texts)
    return {
        "ended_share": sum(ended) / len(ended),
        "distinct_1": distinct_share(texts, 1),
        "distinct_2": distinct_share(texts, 2),
        "repetition": repeated / runs if runs else math.nan,
    }
