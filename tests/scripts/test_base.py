"""The pieces that train the embedded base model, each against an independent computation."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from base import claims, instruct, joint, kernels
from base.corpus import DEALT, TEST_TEXTS, HeldOut, Tokens, other_rows
from base.item import Item
from base.optimizer import Masters
from base.packing import joined, rows, stream
from base.stage import Schedule, Stage, bits_per_byte, nats_by_position, run_packed
from clsgen.config.data import DataSettings
from clsgen.pipeline.rows import load_split

END = 1


def tiny(attention: str) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        attn_implementation=attention,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


def test_blocked_attention_reads_each_document_as_if_it_were_alone():
    ids = torch.randint(0, 50, (1, 300))
    parts = [(0, 120), (120, 290), (290, 300)]  # the second crosses a block of queries
    document = torch.cat([torch.full((1, end - start), number) for number, (start, end) in enumerate(parts)], dim=1)
    blocked = tiny(kernels.ATTENTION).model(input_ids=ids, document_BL=document).last_hidden_state
    stock = tiny("eager")
    for start, end in parts:
        alone = stock.model(input_ids=ids[:, start:end]).last_hidden_state
        assert torch.allclose(blocked[:, start:end], alone, atol=1e-5)


def test_token_loss_and_its_gradients_are_those_of_cross_entropy():
    torch.manual_seed(1)
    hidden = torch.randn(700, 16).bfloat16().requires_grad_()
    output = torch.randn(40, 16).bfloat16().requires_grad_()
    targets, weights = torch.randint(0, 40, (700,)), torch.rand(700) / 700
    kernels.TokenLoss.apply(hidden, output, targets, weights, kernels.loss_block).backward()
    plain_hidden, plain_output = (part.detach().double().requires_grad_() for part in (hidden, output))
    losses = torch.nn.functional.cross_entropy(plain_hidden @ plain_output.t(), targets, reduction="none")
    (losses * weights).sum().backward()
    for found, wanted in ((hidden.grad, plain_hidden.grad), (output.grad, plain_output.grad)):
        assert (found.double() - wanted).norm() < 0.02 * wanted.norm()


def test_muon_updates_are_nearly_orthogonal():
    for shape in ((3, 16, 40), (3, 40, 16)):
        values = torch.linalg.svdvals(kernels.orthogonalized(torch.randn(*shape)).float())
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_bits_per_byte_is_the_stock_models_own_loss():
    ids = torch.randint(2, 50, (40,)).tolist()
    with_end = torch.tensor([[END, *ids]])
    stock = tiny("eager")
    loss = float(stock(input_ids=with_end, labels=with_end).loss.detach())
    measured = bits_per_byte(tiny(kernels.ATTENTION), [(ids, 100), (ids, 60)], end_id=END)
    assert measured == pytest.approx(2 * loss * len(ids) / math.log(2) / 160, rel=1e-4)


def test_nats_by_position_are_the_stock_models_own_losses_in_long_rows():
    torch.manual_seed(3)
    documents = [torch.randint(2, 50, (size,)).tolist() for size in (9, 14, 20)]
    text = torch.tensor([token for ids in documents for token in (END, *ids)])
    found = nats_by_position(tiny(kernels.ATTENTION), documents, end_id=END, bounds=(6, 16))
    rows_of_text = [text[start : start + 17] for start in (0, 16)]  # what is left of the third makes no row
    logits = torch.stack([tiny("eager")(input_ids=row[None, :-1]).logits[0].detach() for row in rows_of_text])
    losses = torch.stack(
        [
            torch.nn.functional.cross_entropy(part, row[1:], reduction="none")
            for part, row in zip(logits, rows_of_text, strict=True)
        ]
    )
    assert found == pytest.approx(
        {"0 to 6": float(losses[:, :6].mean()), "6 to 16": float(losses[:, 6:].mean())}, abs=1e-3
    )


def test_joined_paragraphs_keep_their_order_with_a_break_between():
    tokens = Tokens(np.arange(10, 17, dtype=np.uint16), np.array([0, 2, 3, 6, 7]))
    found = joined(tokens, num=3, between=9)
    assert found.ids.tolist() == [10, 11, 9, 12, 9, 13, 14, 15, 16]
    assert found.bounds.tolist() == [0, 8, 9]
    assert joined(tokens, num=1, between=9).bounds.tolist() == tokens.bounds.tolist()


def test_packed_rows_hold_every_token_once_in_order():
    documents = [np.arange(start, start + 7, dtype=np.uint16) for start in range(10, 80, 10)]
    bounds = np.arange(0, 7 * 7 + 1, 7)
    sources = {"a": Tokens(np.concatenate(documents), bounds)}
    found = rows(stream(sources, {"a": 1.0}, end_id=END, seed=3), length=8, num_rows=7)
    block = next(found)
    assert block.shape == (7, 9)
    assert (block[1:, 0] == block[:-1, -1]).all()  # a row's last target is the next row's first input
    text = [*block[:, :-1].reshape(-1)]
    assert sorted(text) == sorted([*np.concatenate(documents), *[END] * 7])
    assert next(found)[0, 0] == block[-1, -1]


def test_a_weight_of_one_and_a_half_reads_half_of_the_documents_twice():
    sources = {"a": Tokens(np.arange(100, dtype=np.uint16), np.arange(101))}
    documents = stream(sources, {"a": 1.5}, end_id=END, seed=0)
    found = [int(next(documents)[1]) for _ in range(150)]
    assert sorted(map(found.count, range(100))) == [1] * 50 + [2] * 50


def test_schedule_warms_up_holds_and_falls():
    schedule = Schedule(
        num_tokens=1000, batch_tokens=10, micro_tokens=5, lengths=((0.5, 8), (1.0, 16)), warmup_steps=4, decay_share=0.4
    )
    assert [schedule.factor(step) for step in (0, 3, 50, 60, 80)] == [0.25, 1.0, 1.0, 1.0, 0.5]
    assert schedule.factor(99) == pytest.approx(1 / 40)
    assert [schedule.length(step) for step in (0, 49, 50, 99)] == [8, 8, 16, 16]


@pytest.mark.parametrize(("limit_seconds", "last"), [(math.inf, "is_last"), (-1.0, "is_cut")])
def test_a_stage_is_finished_after_all_of_its_steps_alone(tmp_path, monkeypatch, limit_seconds, last):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    model = tiny(kernels.ATTENTION).bfloat16()
    masters = Masters(model, matrix_rate=0.02, other_rate=0.006, decay=0.1)
    schedule = Schedule(
        num_tokens=96, batch_tokens=32, micro_tokens=32, lengths=((1.0, 16),), warmup_steps=1, decay_share=0.5
    )
    stage = Stage(model, masters, schedule, tmp_path / "log.jsonl")
    generator = np.random.default_rng(0)
    blocks = iter(generator.integers(2, 50, size=(3, 2, 17)))
    validation = [(generator.integers(2, 50, size=4200).tolist(), 9000)]
    run_packed(
        stage,
        lambda length, num_rows, step: blocks,
        end_id=END,
        validation=validation,
        save=lambda: None,
        limit_seconds=limit_seconds,
    )
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line[last] is True
    assert ("is_last" in line) + ("is_cut" in line) == 1
    assert line["tokens"] == (96 if last == "is_last" else 32)
    assert line["bits_per_byte"] == pytest.approx(bits_per_byte(model, validation, end_id=END), abs=1e-4)


def test_bins_hold_every_row_once_and_decisions_stand_before_the_reason():
    generator = np.random.default_rng(0)
    made = [
        joint.Row([int(token) for token in generator.integers(2, 50, size)], size - 3, [0, 1])
        for size in generator.integers(5, 30, 60)
    ]
    bins = joint.bins_of(made, length=40)
    assert sorted(map(id, (row for part in bins for row in part))) == sorted(map(id, made))
    assert all(sum(len(row.ids) for row in part) <= 40 for part in bins)
    packed = joint.batch(bins, length=40, prompt_weight=0.3, pad_id=0)
    assert float(packed.weights.sum()) == pytest.approx(1.3)
    for (number, column), row in zip(packed.decisions.tolist(), (row for part in bins for row in part), strict=True):
        assert packed.inputs[number, column] == row.ids[row.num_prompt - 1]
        assert packed.targets[number, column] == row.ids[row.num_prompt]
        reason = packed.weights[number, column : column + 3]
        assert (reason > 0).all()
    num_reason = sum(len(row.ids) - row.num_prompt for part in bins for row in part)
    assert packed.weights.max() == pytest.approx(max(1.0 / num_reason, 0.3 / (packed.weights > 0).sum()), rel=0.5)


def test_adam_masters_take_the_step_that_torch_takes():
    model, other = (torch.nn.Linear(3, 2, bias=False) for _ in range(2))
    other.load_state_dict(model.state_dict())
    masters = Masters(model, matrix_rate=0.0, other_rate=0.01, decay=0.1)
    stock = torch.optim.AdamW(other.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.1, eps=1e-10)
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(4, 3)
        for part in (model, other):
            part(x).square().sum().backward()
        masters.step(1.0)
        stock.step()
        stock.zero_grad()
    assert torch.allclose(model.weight, other.weight, atol=1e-6)


@pytest.mark.slow
def test_no_row_outside_the_train_role_is_an_instruct_row(shared_data):
    found = instruct.items(shared_data)
    sources = {
        "esnli": ["esnli"],
        "pubmedqa": ["pubmedqa"],
        "evidence_inference": ["trial_abstracts", "trial_passages", "claims_abstracts", "claims_passages"],
    }
    for task, names in sources.items():
        roles = load_split(DataSettings(task=task, root=str(shared_data))).split.roles
        apart = {row.document for role, rows in roles.items() if role != "train" for row in rows}
        assert len(apart) > 100
        for name in names:
            assert len(found[name]) > 100
            assert not [item for item in found[name] if item.document in apart]


@pytest.mark.slow
def test_no_text_of_a_row_outside_the_train_role_is_read(shared_data):
    held_out = HeldOut(shared_data)
    for task in DEALT:
        apart = other_rows(shared_data, task)
        assert len(apart) > 100
        for row in apart:
            texts = [str(row[field] or "") for field in TEST_TEXTS[task]]
            within = [f"and before {text} some more words" for text in texts if len(text.split()) >= 8]
            missed = [text for text in within if held_out.found_in(text) is None]
            assert not missed, (task, row["id"], missed)


def test_a_passage_stands_once_among_those_of_other_articles():
    spec = claims.CLAIMS[0]
    passages = [
        Item(spec, f"passage {number} " + "word " * 90, "claim", spec.labels[0], (), f"pmc:{number // 2}")
        for number in range(20)
    ]
    for number, item in enumerate(claims.among_others(passages)):
        parts = item.document.split("\n\n")
        assert claims.AMONG_WORDS[0] <= len(item.document.split()) < claims.AMONG_WORDS[1] + 100
        own = [int(part.split()[1]) for part in parts if int(part.split()[1]) // 2 == number // 2]
        assert own == [number]


@pytest.mark.parametrize(
    ("sentence", "opposite"),
    [
        ("There was no significant difference between the groups at week 12.", "was a significant difference"),
        ("There were no significant differences between the groups at week 12.", "were significant differences"),
        ("No significant changes were seen in either of the two groups.", "Significant changes were seen"),
        ("Pain scores were significantly lower with the block at every hour.", "were not significantly lower"),
        ("The rate of falls was not statistically significant at one year.", "was significant"),
        ("The two groups did not differ significantly in any of the outcomes.", "groups differed significantly"),
        ("Treatment significantly reduced the number of days spent in hospital.", "did not significantly reduce the"),
        ("Treatment did not significantly reduce the number of days in hospital.", "Treatment significantly reduced"),
        ("The trial showed a significantly reduced number of days in hospital.", None),
        ("Pain was significantly lower in one group but not in the other.", None),
        ("To detect a significant difference of 10 points, 120 patients were needed.", None),
        ("Patients were given one tablet a day for the first six weeks.", None),
        ("Pain was significantly lower.", None),
    ],
)
def test_a_verdict_is_denied_once_and_what_is_doubtful_is_left_alone(sentence, opposite):
    found = claims.opposite_of(sentence)
    assert (found is None) if opposite is None else (opposite in found)


def abstract(conclusion: str, aim: str = "To determine whether weekly calls reduce falls in older adults.") -> str:
    methods = "We randomised 240 adults to a call a week or to usual care. They were followed for six months."
    return f"A telephone service for older adults. OBJECTIVE: {aim} METHODS: {methods} CONCLUSION: {conclusion}"


@pytest.mark.parametrize(
    ("conclusion", "is_shown"),
    [
        ("Weekly calls significantly reduced the number of falls over half a year.", True),
        ("Weekly calls did not lower the number of falls over half a year of use.", False),
        ("Falls were reduced in one group, yet there was no difference overall at all.", None),
        ("Further trials of services by telephone for older adults are needed now.", None),
    ],
)
def test_an_aim_is_claimed_and_the_conclusion_judges_it(conclusion, is_shown):
    aim = claims.aim_of(abstract(conclusion))
    if is_shown is None:
        assert aim is None
    else:
        assert aim.words == {
            "intervention": "weekly calls",
            "comparator": "control",
            "outcome": "falls in older adults",
        }
        assert (aim.is_shown, aim.conclusion) == (is_shown, conclusion)


def test_a_claim_of_an_aim_names_both_arms_and_no_trial_makes_none():
    aim = "We wanted to compare the effects of early feeding versus late feeding on length of stay after surgery."
    found = claims.aim_of(abstract("Early feeding did not reduce the length of stay after the operation.", aim))
    assert found.words == {
        "intervention": "early feeding",
        "comparator": "late feeding",
        "outcome": "length of stay",
    }
    text = abstract("Weekly calls significantly reduced the number of falls over half a year.")
    assert claims.aim_of(text.replace("randomised", "asked")) is None


def test_sentences_are_asked_both_ways_so_that_a_claim_tells_nothing_of_its_label():
    filler = "Patients of the clinic were seen by one nurse every week for half a year in all. " * 3
    texts = [
        f"{filler}Pain scores were significantly lower with the block at every hour. End of passage {number}."
        for number in range(3)
    ] + [
        f"{filler}There was no significant difference in nausea between the two groups. Passage {n}." for n in range(3)
    ]
    apart = [f"{filler}Nothing was counted on ward {number}." for number in range(claims.SAME_ARTICLE)]
    texts = [*texts[:3], *apart, *texts[3:]]
    found = list(claims.of_sentences(texts))
    verdicts = [(item.question, item.spec.labels.index(item.label)) for item in found]
    denied = {"Pain scores were significantly lower with the block at every hour.": 0}
    for text, label in denied.items():
        assert (text, label) in verdicts
        assert (claims.opposite_of(text), 1) in verdicts
    assert [label for _, label in verdicts].count(0) == [label for _, label in verdicts].count(1) == 6
    elsewhere = [item for item in found if item.label == item.spec.labels[2]]
    assert len(elsewhere) == 6
    for item in elsewhere:  # a neighbour, of the same article for all that is known, would be the more similar
        assert abs(texts.index(item.document) - int(item.group.split(":")[1])) > claims.SAME_ARTICLE


def test_held_out_texts_are_found_and_others_are_not(shared_data):
    held_out = HeldOut(shared_data)
    import gzip
    import json

    with gzip.open(shared_data / "clinifact" / "train.jsonl.gz", "rt") as handle:
        row = json.loads(next(handle))
    assert held_out.found_in(f"Something before. {row['abstract']}") == "clinifact"
    assert held_out.found_in("A sentence of our own about nothing in particular, which no data set can hold.") is None
