"""Log-likelihoods are those of the stock model, one row at a time; a batch changes nothing."""

from __future__ import annotations

import math

import pytest
import torch

import tiny
from clsgen.data.batch import UNLABELLED, EncodedExample, encode_examples
from clsgen.data.template import Prompt
from clsgen.inference.likelihood import answer_likelihoods, log_likelihoods, perplexity


@pytest.fixture(scope="module", params=["llama", "gemma"])
def built(request, tmp_path_factory):
    return tiny.dual(tiny.save(request.param, tmp_path_factory.mktemp(request.param)))


def by_hand(built, prompt, target):
    """Sum of log-probabilities by the stock model's own logits."""
    with torch.no_grad():
        logits = built.model.language_model(input_ids=torch.tensor([prompt + target])).logits[0].double()
    log_probs = logits.log_softmax(-1)
    return sum(float(log_probs[len(prompt) - 1 + i, token]) for i, token in enumerate(target))


def test_every_row_is_the_stock_models_own(built):
    rows = encode_examples(tiny.examples(7), built.renderer, with_targets=True).rows
    found = log_likelihoods(built.model.eval(), rows, pad_id=built.pad_id)
    for row, value in zip(rows, found, strict=True):
        assert value == pytest.approx(by_hand(built, row.prompt_ids, row.target_ids), abs=1e-3)


def test_a_batch_is_its_rows_alone(built):
    rows = encode_examples(tiny.examples(7), built.renderer, with_targets=True).rows
    alone = [log_likelihoods(built.model, [row], pad_id=built.pad_id)[0] for row in rows]
    assert log_likelihoods(built.model, rows, pad_id=built.pad_id) == pytest.approx(alone, abs=1e-3)


def test_perplexity_is_per_token_over_all_rows(built):
    rows = encode_examples(tiny.examples(5), built.renderer, with_targets=True).rows
    bare = EncodedExample("bare", rows[0].prompt_ids, [], UNLABELLED, 0, "free")
    total = sum(by_hand(built, row.prompt_ids, row.target_ids) for row in rows)
    expected = math.exp(-total / sum(len(row.target_ids) for row in rows))
    assert perplexity(built.model, [*rows, bare], pad_id=built.pad_id) == pytest.approx(expected, rel=1e-4)
    assert math.isnan(perplexity(built.model, [bare], pad_id=built.pad_id))


@pytest.mark.parametrize("num_prompts", [1, 5])
def test_answers_are_the_stock_models_own_whatever_they_share(built, num_prompts):
    rows = encode_examples(tiny.examples(num_prompts), built.renderer, with_targets=True).rows
    prompts = [Prompt(row.prompt_ids, 0, 0) for row in rows]
    answers = [
        [[7], [8, 9], [8, 9, 10, 11]],
        [[*rows[0].target_ids, 5, 6], [*rows[0].target_ids, 7], [*rows[0].target_ids, 7, 8, 9]],
        [[11, 12, 13]],
        [[5], [6]],
        [[9, 9, 9], [9, 9, 8]],
    ][:num_prompts]
    found = answer_likelihoods(built.model.eval(), prompts, answers, pad_id=built.pad_id)
    for prompt, each, values in zip(prompts, answers, found, strict=True):
        assert values == pytest.approx([by_hand(built, prompt.ids, ids) for ids in each], abs=1e-3)
