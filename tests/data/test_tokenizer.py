"""Padding that is never the end token, without resized embeddings."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import tiny
from clsgen.data.tokenizer import NUM_RESERVED, PlainEncoder, ensure_pad, train_tokenizer
from clsgen.errors import ModelError, TemplateError


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_pad_is_never_end_nor_begin(family):
    tokenizer = tiny.tokenizer(family)
    size = len(tokenizer)
    pad_id = ensure_pad(tokenizer, num_embeddings=size, end_ids=[tokenizer.eos_token_id])
    assert pad_id == tokenizer.pad_token_id
    assert pad_id not in (tokenizer.eos_token_id, tokenizer.bos_token_id)
    assert pad_id < size == len(tokenizer)  # no embedding had to be added


def test_an_unused_row_of_a_padded_embedding_serves():
    tokenizer = tiny.tokenizer("gpt2")
    size = len(tokenizer)
    assert ensure_pad(tokenizer, num_embeddings=size + 8, end_ids=[0]) == size


def test_the_byte_that_no_utf8_text_holds_is_the_last_resort():
    tokenizer = tiny.tokenizer("gpt2")
    pad_id = ensure_pad(tokenizer, num_embeddings=len(tokenizer), end_ids=[0])
    encoder = PlainEncoder(tokenizer)
    for text in ("ÿ", "\u00ff", "plain", "日本", "\U0010ffff"):
        assert pad_id not in encoder.encode(text)


def test_no_pad_at_all_is_an_error():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<end>": 0, "word": 1}, unk_token="<end>")), eos_token="<end>"
    )
    with pytest.raises(ModelError, match="pad token must be a reserved token other than the end token"):
        ensure_pad(tokenizer, num_embeddings=2, end_ids=[0])


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="Slow must be a fast tokenizer"):
        PlainEncoder(Slow())


def word_level(**vocabulary: int) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, **vocabulary}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def test_a_text_that_is_itself_a_control_character_is_an_error():
    tokenizer = word_level(x=1)
    tokenizer.add_special_tokens({"eos_token": "x"})
    with pytest.raises(TemplateError, match="document: 'x' must not be a control token of the tokenizer"):
        PlainEncoder(tokenizer).encode("x")


def test_the_unknown_token_of_a_text_is_left_out():
    assert PlainEncoder(word_level(x=1)).encode("y") == []


def test_scratch_tokenizer_has_roles_end_pad_and_reserved_ids():
    tokenizer = train_tokenizer(["one text"], vocabulary=400)
    names = set(tokenizer.get_vocab())
    assert {"<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"} <= names
    assert sum(name.startswith("<|reserved_") for name in names) == NUM_RESERVED
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert "strftime" not in tokenizer.chat_template


def test_plain_text_round_trips_byte_for_byte():
    tokenizer = train_tokenizer(["one text"], vocabulary=400)
    text = "  naïve\tβ-blocker 日本 \U0001f600\n\n"
    assert tokenizer.decode(PlainEncoder(tokenizer).encode(text)) == text
