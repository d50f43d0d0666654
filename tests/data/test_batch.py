"""Positions by length, batches within a budget, nothing dropped in silence."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from clsgen.data.batch import UNLABELLED, collate, draw_mode, encode_examples, pad_left, plan_batches
from clsgen.data.template import build_template, sealed
from clsgen.errors import DataError
from clsgen.types import Example


@pytest.fixture(scope="module")
def renderer():
    tokenizer = tiny.tokenizer("gemma")
    return sealed(build_template(tokenizer, tiny.SPEC, max_length_tokens=300, max_explanation_tokens=96), tokenizer)


def test_supervised_positions_precede_their_targets(renderer):
    rows = encode_examples(tiny.examples(5), renderer, with_targets=True, free_share=0.5).rows
    batch = collate(rows, pad_id=0)
    place = 0
    for index, row in enumerate(rows):
        whole = row.prompt_ids + row.target_ids
        for offset, target in enumerate(row.target_ids):
            column = int(batch.target_column_N[place])
            assert int(batch.target_row_N[place]) == index
            assert whole[column + 1] == target == int(batch.target_N[place])
            assert offset or column == int(batch.decision_B[index]) == len(row.prompt_ids) - 1
            place += 1
        assert row.target_ids[-1] == renderer.template.end_id
    assert place == len(batch.target_N) > 0


def test_the_end_token_is_predicted_and_never_read(renderer):
    rows = encode_examples(tiny.examples(4), renderer, with_targets=True).rows
    batch = collate(rows, pad_id=0)
    for index, row in enumerate(rows):
        read = batch.input_ids_BL[index][batch.attention_mask_BL[index] == 1].tolist()
        assert read == row.prompt_ids + row.target_ids[:-1]
        assert len(read) == row.num_tokens


def test_positions_come_from_lengths_not_from_ids(renderer):
    """A row whose text holds the pad id everywhere is still read to its end."""
    row = encode_examples(tiny.examples(1), renderer, with_targets=True).rows[0]
    pad_id = row.prompt_ids[-1]
    batch = collate([row, row._replace(prompt_ids=row.prompt_ids[3:])], pad_id=pad_id)
    assert batch.decision_B.tolist() == [len(row.prompt_ids) - 1, len(row.prompt_ids) - 4]
    assert batch.attention_mask_BL.sum(dim=1).tolist() == [row.num_tokens, row.num_tokens - 3]


def test_rows_without_label_or_explanation_count_where_they_can(renderer):
    both, *_ = tiny.examples(1)
    no_label = dataclasses.replace(both, id="u", label=None)
    no_text = dataclasses.replace(both, id="v", explanation=None)
    rows = encode_examples([both, no_label, no_text], renderer, with_targets=True).rows
    assert [row.label for row in rows] == [0, UNLABELLED, 0]
    assert [bool(row.target_ids) for row in rows] == [True, True, False]


@pytest.mark.parametrize("with_targets", [True, False])
def test_a_training_row_left_with_nothing_is_left_out_and_counted_once(renderer, with_targets):
    empty = Example("empty", "Dark clouds.")
    long = Example("long", "Dark clouds.", explanation="and so on " * 200)
    found = encode_examples([empty, *tiny.examples(1), long], renderer, with_targets=with_targets)
    assert [row.id for row in found.rows] == ["row-0"]
    counts = (
        {"no_label_or_explanation": 1, "explanation_too_long": 1} if with_targets else {"no_label_or_explanation": 2}
    )
    assert found.dropped == counts


def test_a_question_without_room_for_the_document_names_its_row(renderer):
    row = Example("asks", "Dark clouds.", question="and why " * 400, label="rain")
    with pytest.raises(DataError, match="row asks: instruction and question must leave room for the"):
        encode_examples([*tiny.examples(1), row], renderer, with_targets=True)


def test_an_explanation_too_long_for_its_room_is_counted_and_the_label_kept(renderer):
    row = Example("long", "Dark clouds.", label="rain", explanation="and so on " * 200)
    encoded = encode_examples([row], renderer, with_targets=True)
    assert encoded.dropped == {"explanation_too_long": 1}
    assert (encoded.rows[0].label, encoded.rows[0].target_ids) == (0, [])


def test_an_unknown_label_is_an_error(renderer):
    with pytest.raises(DataError, match=r"row x: label must be one of \['rain', 'sun'\]; got 'snow'"):
        encode_examples([Example("x", "White.", label="snow")], renderer, with_targets=True)


def test_mode_draw_is_fixed_per_row_and_seed_and_has_its_share():
    drawn = [draw_mode(f"row-{index}", free_share=0.75, seed=1) for index in range(4000)]
    assert drawn == [draw_mode(f"row-{index}", free_share=0.75, seed=1) for index in range(4000)]
    assert drawn != [draw_mode(f"row-{index}", free_share=0.75, seed=2) for index in range(4000)]
    assert abs(drawn.count("free") / 4000 - 0.75) < 0.025  # 3.6 standard errors
    assert draw_mode("a", free_share=1.0, seed=0) == "free"
    assert draw_mode("a", free_share=0.0, seed=0) == "decision"


def test_pad_left_puts_every_last_token_in_the_last_column():
    padded = pad_left([[5, 6, 7], [8]], pad_id=0)
    assert padded.input_ids_BL.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert padded.attention_mask_BL.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert padded.position_ids_BL[:, -1].tolist() == [2, 0]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200))
def test_every_row_is_planned_once_within_the_budget(lengths, budget):
    plan = plan_batches(lengths, batch_tokens=budget)
    assert sorted(index for batch in plan for index in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


def test_texts_are_not_logged(renderer, caplog):
    with caplog.at_level(logging.DEBUG):
        encode_examples(tiny.examples(3), renderer, with_targets=True)
    assert "puddles" not in caplog.text
