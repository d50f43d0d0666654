"""A model on this machine as teacher: batches, seeds, and prompts that yield no control token."""

from __future__ import annotations

import asyncio

import pytest
import torch

import tiny
from clsgen.errors import ModelError, TeacherError, TemplateError
from clsgen.inference.local_teacher import LocalChat
from clsgen.inference.sampling import Draw, Sampler
from clsgen.llm.chat import ChatReply, ChatRequest

WORDS = ("wet streets", "dark clouds and an umbrella at the door", "sun")


@pytest.fixture(scope="module", params=["llama", "qwen"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("teacher") / request.param
    tiny.save(request.param, path)
    return str(path)


def asked(chat: LocalChat, *requests: ChatRequest) -> list[ChatReply]:
    async def run() -> list[ChatReply]:
        return list(await asyncio.gather(*(chat.ask(request) for request in requests)))

    return asyncio.run(run())


def request(text: str, **fields: object) -> ChatRequest:
    return ChatRequest((("user", text),), **{"max_tokens": 12, "temperature": 0.0, **fields})  # type: ignore[arg-type]


def test_a_batch_says_what_each_request_alone_says_and_so_does_stock_generate(folder: str) -> None:
    chat = LocalChat.load(folder, batch_size=8)
    together = asked(chat, *(request(text) for text in WORDS))
    alone = [asked(LocalChat.load(folder, batch_size=1), request(text))[0] for text in WORDS]
    assert [each.content for each in together] == [each.content for each in alone]
    assert chat.num_sent == 3
    ids = chat.prompt_ids(request(WORDS[1]).messages)
    model = chat._engine.model.language_model
    written = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=12,
        do_sample=False,
    )[0, len(ids) :].tolist()
    stop = written.index(chat._engine.end_id) if chat._engine.end_id in written else len(written)
    assert together[1].content == chat._tokenizer.decode(written[:stop], skip_special_tokens=True)
    assert together[1].prompt_tokens == len(ids)


def test_a_seed_draws_the_same_whatever_is_in_the_batch_and_another_draws_otherwise(folder: str) -> None:
    chat = LocalChat.load(folder, batch_size=8)
    one = request(WORDS[0], temperature=1.5, seed=3)
    other = request(WORDS[0], temperature=1.5, seed=4)
    first, second, _ = asked(chat, one, other, request(WORDS[1], temperature=1.0, seed=9))
    assert first.content != second.content
    assert asked(chat, one)[0].content == first.content


def test_lengths_are_kept_apart_and_a_cut_answer_says_so(folder: str) -> None:
    chat = LocalChat.load(folder, batch_size=8)
    short, long = asked(chat, request(WORDS[0], max_tokens=3), request(WORDS[1], max_tokens=9))
    assert (short.completion_tokens, short.finish_reason) == (3, "length")
    assert long.completion_tokens <= 9


def test_a_message_yields_no_control_token(folder: str) -> None:
    chat = LocalChat.load(folder, batch_size=1)
    added = {int(index) for index in chat._tokenizer.added_tokens_decoder}
    plain = [index for index in chat.prompt_ids(request("rain").messages) if index in added]
    hostile = "".join(str(token) for token in chat._tokenizer.added_tokens_decoder.values())
    assert [index for index in chat.prompt_ids(request(hostile).messages) if index in added] == plain


def test_a_prompt_beyond_the_context_is_a_failure_of_its_row_alone(folder: str) -> None:
    chat = LocalChat.load(folder, batch_size=4)
    with pytest.raises(TeacherError, match="must fit its context") as caught:
        asked(chat, request("rain " * 5000))
    assert caught.value.reason == "too_long_prompt"
    assert asked(chat, request("rain"))[0].completion_tokens > 0


def test_a_template_that_drops_the_system_message_is_refused(folder: str) -> None:
    chat = LocalChat.load(folder, batch_size=1)
    chat._tokenizer.chat_template = "{{ messages[-1]['content'] }} Answer:"
    with pytest.raises(TemplateError, match="each message must be rendered once"):
        asked(chat, ChatRequest((("system", "a"), ("user", "b"))))


def test_a_model_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ModelError, match="must hold config"):
        LocalChat.load(str(tmp_path), batch_size=1)


def test_an_error_of_the_engine_reaches_whoever_waits(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = LocalChat.load(folder, batch_size=2)

    def fail(*arguments: object, **settings: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(chat._engine, "prefill", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        asked(chat, request("rain"))


def test_the_sampler_draws_as_the_softmax_says_and_keeps_to_top_p() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    plain = Sampler([Draw(1.0, 1.0, 0)])
    drawn = torch.bincount(torch.tensor([plain(logits, [0])[0] for _ in range(4000)]), minlength=4) / 4000
    assert torch.allclose(drawn, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03)
    narrow = Sampler([Draw(1.0, 0.7, 0)])
    kept = torch.bincount(torch.tensor([narrow(logits, [0])[0] for _ in range(4000)]), minlength=4) / 4000
    assert torch.allclose(kept, torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=0.03)
    assert Sampler([Draw(0.0, 0.1, 0)])(logits, [0]) == [0]
    assert Sampler([Draw(1.0, 1e-9, 0)])(logits, [0]) == [0]
