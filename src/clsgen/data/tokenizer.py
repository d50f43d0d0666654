"""Tokenizers: a byte-level BPE from the training text, padding that is never the end token, plain text encoding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from clsgen.errors import ModelError, TemplateError

PAD, END = "<|pad|>", "<|end|>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")
NUM_RESERVED = 32
"""Reserved ids of a scratch tokenizer: room for class rows in an exported output embedding."""

SCRATCH_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

_RESERVED_PAD_NAMES = (
    "<|finetune_right_pad_id|>",
    "<pad>",
    "[PAD]",
    "<|pad|>",
    "<|PAD_TOKEN|>",
    "<unused0>",
    "<|reserved_special_token_0|>",
    "<|reserved_0|>",
    "<|extra_0|>",
)
_NEVER_IN_UTF8 = "ÿ"
"""GPT-2's symbol for byte 0xFF, which no UTF-8 text holds: an id that a byte-level BPE has and never uses."""


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with role, end, pad and reserved tokens.

    Args:
        texts: Training documents, questions and explanations.
        vocabulary: Total number of ids, special tokens included; at least 384.

    Returns:
        A tokenizer with a chat template without a clock, and a pad token that is not the end token.
    """
    special = [PAD, END, *ROLE_TOKENS, *(f"<|reserved_{index}|>" for index in range(NUM_RESERVED))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)
    wrapped.chat_template = SCRATCH_CHAT_TEMPLATE
    return wrapped


def ensure_pad(tokenizer: Any, *, num_embeddings: int, end_ids: Sequence[int]) -> int:
    """Give the tokenizer a pad token that is neither end nor begin, without resizing embeddings.

    Tried in order: the tokenizer's own pad; a token reserved for the purpose; an unused row of a padded
    embedding matrix; in a byte-level BPE, the byte that UTF-8 never holds.

    Args:
        tokenizer: A fast tokenizer; its pad token is set.
        num_embeddings: Rows of the input embedding, V.
        end_ids: Ids that end a text (EOS, end of turn).

    Returns:
        The pad id.

    Raises:
        ModelError: None of the four is there.
    """
    taken = {*end_ids, tokenizer.eos_token_id, tokenizer.bos_token_id}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in taken:
        return int(tokenizer.pad_token_id)
    vocabulary = tokenizer.get_vocab()
    for name in _RESERVED_PAD_NAMES:
        if name in vocabulary and vocabulary[name] not in taken:
            tokenizer.add_special_tokens({"pad_token": name})
            return int(vocabulary[name])
    if len(tokenizer) < num_embeddings:
        tokenizer.add_special_tokens({"pad_token": PAD})
        if tokenizer.pad_token_id < num_embeddings:
            return int(tokenizer.pad_token_id)
    if _NEVER_IN_UTF8 in vocabulary and "ByteLevel" in tokenizer.backend_tokenizer.to_str():
        tokenizer.add_special_tokens({"pad_token": _NEVER_IN_UTF8})
        return int(vocabulary[_NEVER_IN_UTF8])
    raise ModelError(
        "tokenizer: pad token must be a reserved token other than the end token; found none. "
        "Add one to the tokenizer and the model, save both, and use that directory as model.backbone."
    )


class PlainEncoder:
    """Encodes text that people wrote: no id of any added token ever comes out.

    `split_special_tokens=True` still lets non-special added tokens such as `<think>` through, so the backend
    tokenizer is rebuilt without its added tokens; what a vocabulary reaches all the same is spelled out.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"tokenizer: {type(tokenizer).__name__} must be a fast tokenizer (tokenizer.json). "
                "Convert it with transformers, save it, and use that directory as model.backbone."
            )
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        self._added = {int(token_id) for token_id in tokenizer.added_tokens_decoder}
        self._unknown = tokenizer.unk_token_id
        state.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
        self._backend = Tokenizer.from_str(json.dumps(state))
        self._surface = {index: token for token, index in tokenizer.get_vocab().items() if index in self._added}

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, (L,), none of them an added token's.

        Raises:
            TemplateError: A single character of the text is itself an added token.
        """
        ids = list(self._backend.encode(text, add_special_tokens=False).ids)
        if self._added.isdisjoint(ids):
            return ids
        return [part for token_id in ids for part in self._spelled(token_id)]

    def _spelled(self, token_id: int) -> list[int]:
        if token_id not in self._added:
            return [token_id]
        if token_id == self._unknown:
            return []
        parts = [
            part
            for character in self._surface[token_id]
            for part in self._backend.encode(character, add_special_tokens=False).ids
        ]
        if not self._added.isdisjoint(parts):
            raise TemplateError(
                f"document: {self._surface[token_id]!r} must not be a control token of the tokenizer. "
                "Remove the character from the text."
            )
        return parts
