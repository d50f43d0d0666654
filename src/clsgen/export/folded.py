"""Both heads in a stock causal model: the class head's rows in ids of the output layer that nothing uses.

The logits of those ids at the decision position are the class logits, so any server that tells log-probabilities of the
first token it writes tells the probability too. N rows, C classes, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clsgen.data.template import Renderer
from clsgen.errors import ModelError
from clsgen.export.class_ids import class_ids
from clsgen.export.record import FoldedRecord
from clsgen.export.refusals import check_linear, check_mergeable, check_uncapped
from clsgen.model import backbone
from clsgen.model.checkpoint import Bundle, merged

_LEAST_SHARE = 0.2
"""Hidden states must have this much of their mean in common, or no vector lifts the classes at all of them."""

_HEADROOM = 1.25
"""More lift than the probe rows need, for texts that are none of them."""


class Folded(NamedTuple):
    """language_model: stock, its output layer carries the classes. tokenizer: names them. record: how to ask."""

    language_model: Any
    tokenizer: Any
    record: FoldedRecord


@torch.no_grad()
def fold(bundle: Bundle, prompts: Sequence[Sequence[int]]) -> Folded:
    """Write the class head into the output layer; the bundle's own model is used up.

    The calibrator's slopes go into the rows, its biases stay with the record. To every class row the same vector is
    added, which the softmax over classes does not see and which puts the classes above the rest of the vocabulary, so
    that a server that tells its likeliest tokens alone tells them.

    Args:
        bundle: The model.
        prompts: Ids of rows like those that will be asked about; the lift is chosen on them.

    Raises:
        ConfigError: An activated adapter, 4-bit weights, an isotonic calibrator.
        ModelError: Squeezed logits, no free ids, or hidden states with nothing in common.
    """
    check_mergeable(bundle)
    check_linear(bundle)
    check_uncapped(bundle)
    ids = class_ids(bundle)
    whole = merged(bundle)
    language_model = backbone.base_of(whole.model.language_model)
    slopes_C = torch.tensor(bundle.calibrator.slopes, dtype=torch.float32, device=whole.model.device)
    rows_CD = slopes_C[:, None] * whole.model.head.weight
    hidden_ND = _decision_states(language_model, prompts)
    rows_CD = rows_CD + _lift(language_model, hidden_ND, rows_CD, ids)
    _write(language_model, ids, rows_CD)
    calibrator = replace(bundle.calibrator, slopes=(1.0,) * bundle.spec.num_labels)
    record = FoldedRecord(
        spec=bundle.spec,
        template=bundle.renderer.template,
        class_ids=ids,
        class_tokens=tuple(map(str, bundle.tokenizer.convert_ids_to_tokens(list(ids)))),
        free_banned_ids=_first_of_other_mode(bundle),
        calibrator=calibrator,
        rule=bundle.rule,
        has_explanations=bundle.has_explanations,
    )
    renderer = Renderer(bundle.renderer.template, bundle.tokenizer)
    template = replace(record.template, golden=renderer.golden_hash())  # naming the classes may add tokens
    return Folded(language_model, bundle.tokenizer, replace(record, template=template))


@torch.inference_mode()
def class_logits(language_model: nn.Module, record: FoldedRecord, prompts: Sequence[Sequence[int]]) -> NDArray[Any]:
    """What the stock forward gives for the class ids at the end of each prompt, (N, C)."""
    device = next(language_model.parameters()).device
    found = []
    for ids in prompts:
        output = language_model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False, logits_to_keep=1)
        found.append(output.logits[0, -1, list(record.class_ids)].float().cpu().numpy())
    return np.stack(found)


def _decision_states(language_model: nn.Module, prompts: Sequence[Sequence[int]]) -> Tensor:
    device = next(language_model.parameters()).device
    body = backbone.body_of(language_model)
    states = [
        body(input_ids=torch.tensor([list(ids)], device=device), use_cache=False).last_hidden_state[0, -1]
        for ids in prompts
    ]
    return torch.stack(states).float()


def _lift(language_model: nn.Module, hidden_ND: Tensor, rows_CD: Tensor, ids: Sequence[int]) -> Tensor:
    """The vector added to every class row, (D,): along the mean hidden state, as long as the probe rows need."""
    mean_D = hidden_ND.mean(dim=0)
    along_D = mean_D / mean_D.square().sum()
    share_N = hidden_ND @ along_D
    if float(share_N.min()) < _LEAST_SHARE:
        raise ModelError(
            "export: hidden states at the decision position must have a direction in common; on the probe rows they "
            f"have {float(share_N.min()):.2f} of their mean, below {_LEAST_SHARE}. Use --format seqcls."
        )
    logits_NV = backbone.project(language_model, hidden_ND)
    logits_NV[:, list(ids)] = -torch.inf
    lowest_N = (hidden_ND @ rows_CD.T).min(dim=1).values
    needed_N = logits_NV.max(dim=1).values + 1 - lowest_N
    length = _HEADROOM * float((needed_N / share_N).clamp(min=0).max())
    return length * along_D


def _write(language_model: Any, ids: Sequence[int], rows_CD: Tensor) -> None:
    output = language_model.get_output_embeddings()
    config = language_model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1.0
    divisor = getattr(config, "logits_scaling", None) or 1.0
    output.weight[list(ids)] = (rows_CD * divisor / scale).to(output.weight.dtype)
    if output.bias is not None:
        output.bias[list(ids)] = 0


def _first_of_other_mode(bundle: Bundle) -> tuple[int, ...]:
    """What a decision-mode explanation begins with, where a free one holds it nowhere."""
    renderer = bundle.renderer
    other = renderer.forced("decision", bundle.spec.labels[0])[0]
    free = renderer.target("x", bundle.spec.labels[0], "free") or []
    return () if other in free else (other,)
