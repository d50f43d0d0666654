"""No run of ids is written twice, whatever stands beside the row; until then it is greedy decoding."""

from __future__ import annotations

import pytest
import torch

import tiny
from clsgen.inference.engine import Part
from clsgen.inference.fast_engine import FastEngine
from clsgen.inference.no_repeat import NoRepeat
from clsgen.inference.plain_engine import PlainEngine


def test_a_run_worked_by_hand():
    """0 0 1 0 2: after the first pair (0, 0) comes 1; (0, 0) and (0, 1) are used, so the next 0 is followed by 2."""
    pick, logits = NoRepeat(2), torch.tensor([[3.0, 2.0, 1.0]])
    assert [pick(logits, [5])[0] for _ in range(5)] == [0, 0, 1, 0, 2]


def test_rows_do_not_see_each_other():
    pick, logits = NoRepeat(2), torch.tensor([[3.0, 2.0, 1.0]])
    together = [pick(logits.repeat(2, 1), [0, 1]) for _ in range(5)]
    assert [pair[0] for pair in together] == [pair[1] for pair in together] == [0, 0, 1, 0, 2]


@pytest.fixture(scope="module", params=[PlainEngine, FastEngine])
def written(request, tmp_path_factory):
    built = tiny.dual(tiny.save("llama", tmp_path_factory.mktemp("llama")))
    engine = request.param(built.model, pad_id=built.pad_id, end_id=-1)  # never ends
    prompts = [built.renderer.prompt(row.document) for row in tiny.examples(6)]

    def write(prompts, **options):
        forced = [built.renderer.forced("free")] * len(prompts)
        return [each.ids for each in engine.generate(engine.prefill(prompts), forced, max_new_tokens=60, **options)]

    return prompts, write


def test_no_run_is_written_twice_and_the_first_ids_are_the_greedy_ones(written):
    prompts, write = written
    greedy, without = write(prompts), write(prompts, pick=NoRepeat(3))
    assert greedy != without
    for plain, ids in zip(greedy, without, strict=True):
        runs = [tuple(ids[i : i + 3]) for i in range(len(ids) - 2)]
        assert len(set(runs)) == len(runs) == 58
        first = next((i for i, (a, b) in enumerate(zip(plain, ids, strict=True)) if a != b), len(ids))
        if first < len(ids):
            assert (*ids[first - 2 : first], plain[first]) in runs[: first - 2]


def test_a_batch_is_its_rows_alone(written):
    prompts, write = written
    assert write(prompts, pick=NoRepeat(3)) == [write([prompt], pick=NoRepeat(3))[0] for prompt in prompts]


@pytest.mark.parametrize("kind", [PlainEngine, FastEngine])
def test_parts_read_one_after_another_do_not_see_each_other(kind, tmp_path):
    built = tiny.dual(tiny.save("llama", tmp_path / "llama"))
    engine = kind(built.model, pad_id=built.pad_id, end_id=-1)
    prompts = [built.renderer.prompt(row.document) for row in tiny.examples(4)]
    forced = built.renderer.forced("free")

    def parts(*groups):
        for rows in groups:
            read = engine.prefill([prompts[row] for row in rows])
            yield Part(list(rows), read, [forced] * len(rows), [40] * len(rows))

    alone = {row: dict(engine.write(parts((row,)), pick=NoRepeat(2)))[row] for row in range(4)}
    assert dict(engine.write(parts((2, 0), (1,), (3,)), pick=NoRepeat(2))) == alone
