"""Prompting: labels scored as the stock model scores them, stated probabilities read, failures counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny
from chat_server import Answer, ChatServer, completion, error
from clsgen.baselines import prompting
from clsgen.errors import DataError
from clsgen.inference.local_teacher import LocalChat
from clsgen.llm.client import OpenAIChat
from clsgen.llm.settings import ChatSettings
from clsgen.types import Example

ROWS = tiny.examples(12)
SPEC = tiny.SPEC


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save("llama", tmp_path_factory.mktemp("llama"))


def test_labels_are_scored_as_the_stock_model_scores_them(folder):
    chat = LocalChat.load(str(folder), batch_size=4)
    shots = prompting.choose_shots(ROWS, SPEC, seed=0, num_shots=2)
    found = prompting.label_logits(chat, ROWS[:3], SPEC, shots=shots, max_words=50)
    stock = AutoModelForCausalLM.from_pretrained(str(folder))
    for row, scores in zip(ROWS[:3], found, strict=True):
        prompt = chat.prompt_ids(prompting.label_messages(row, SPEC, shots=shots, max_words=50))
        for label, score in zip(SPEC.labels, scores, strict=True):
            answer = [*chat._plain.encode(label), chat._engine.end_id]
            with torch.no_grad():
                log_probs = stock(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            expected = sum(float(log_probs[len(prompt) - 1 + i, token]) for i, token in enumerate(answer))
            assert score == pytest.approx(expected, abs=1e-3)


def test_examples_stand_before_the_row_with_their_labels():
    shots = prompting.choose_shots(ROWS, SPEC, seed=0, num_shots=4)
    assert sorted(shot.label for shot in shots) == ["rain", "rain", "sun", "sun"]
    messages = prompting.label_messages(ROWS[0], SPEC, shots=shots, max_words=50)
    assert [role for role, _ in messages] == ["user", "assistant"] * 4 + ["user"]
    assert [content for role, content in messages if role == "assistant"] == [shot.label for shot in shots]
    assert all(shot.document in content for shot, (_, content) in zip(shots, messages[::2], strict=False))
    assert ROWS[0].document in messages[-1][1]
    assert prompting.choose_shots(ROWS, SPEC, seed=0) == prompting.choose_shots(ROWS[::-1], SPEC, seed=0)
    assert prompting.choose_shots(ROWS, SPEC, seed=0) != prompting.choose_shots(ROWS, SPEC, seed=1)


def test_a_label_without_a_row_gives_no_examples():
    with pytest.raises(DataError, match="each label must have a train row; 'sun' has none"):
        prompting.choose_shots([row for row in ROWS if row.label == "rain"], SPEC, seed=0)


def test_a_long_document_loses_its_middle():
    row = Example("long", " ".join(f"w{i}" for i in range(100)), label="rain")
    ((_, content),) = prompting.label_messages(row, SPEC, shots=(), max_words=10)
    assert "w0 w1 w2 w3 w4 [...] w95 w96 w97 w98 w99" in content
    assert "w5 " not in content


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"rain": 30, "sun": 70}', [0.3, 0.7]),
        ('Sure:\n```json\n{"rain": 0.25, "sun": 0.75}\n```', [0.25, 0.75]),
        ("rain: 10%\nsun = 30%", [0.25, 0.75]),
        ('{"rain": 100, "sun": 0}', [1.0, 0.0]),
        ('{"rain": 30}', None),
        ('{"rain": -5, "sun": 105}', None),
        ('{"rain": 0, "sun": 0}', None),
        ('{"rain": "high", "sun": "low"}', None),
        ("It will rain.", None),
        ("", None),
    ],
)
def test_stated_probabilities_are_read_or_none(answer, expected):
    found = prompting.stated_probs(answer, SPEC.labels)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("answer", ["not eligible: 80%, eligible: 20%", "eligible: 20, not eligible = 80"])
def test_a_label_that_ends_another_has_a_number_of_its_own(answer):
    assert prompting.stated_probs(answer, ["eligible", "not eligible"]) == pytest.approx([0.2, 0.8])
    assert prompting.stated_probs("not eligible: 80%", ["eligible", "not eligible"]) is None


def test_a_server_is_asked_for_every_row_and_its_failures_are_counted():
    def script(body, number):
        text = body["messages"][-1]["content"]
        if "day 3 " in text:
            return Answer(completion("I can't say."))
        if "day 5 " in text:
            return Answer(error("no"), status=400)
        share = 80 if "streets" in text else 20
        return Answer(completion(json.dumps({"rain": 100 - share, "sun": share})))

    settings = ChatSettings(num_attempts=1)
    with ChatServer(script) as server:
        found = prompting.stated_logits(
            lambda: OpenAIChat(server.endpoint, "m", settings=settings), ROWS, SPEC, max_words=50
        )
        # one more than rows: the schema is refused with the 400, and the same request sent without it
        assert len(ROWS) <= server.num_requests <= len(ROWS) + 1
        assert all(body["temperature"] == 0 for body in server.bodies)
    lost = [index for index, row in enumerate(found.logits_NC) if np.isnan(row).any()]
    assert lost == [3, 5]
    assert found.failures["unparsed"] == 1
    assert sum(found.failures.values()) == 2
    for row, logits in zip(ROWS, found.logits_NC, strict=True):
        if not np.isnan(logits).any():
            assert np.exp(logits[1]) == pytest.approx(0.8 if "streets" in row.document else 0.2)
