"""A Hugging Face model on this machine as teacher: the same protocol as an endpoint, requests answered in batches."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from clsgen.data.template import FALLBACK_CHAT_TEMPLATE, Prompt, end_id_of, missing_bos
from clsgen.data.tokenizer import PlainEncoder, ensure_pad
from clsgen.errors import TeacherError, TemplateError
from clsgen.inference.fast_engine import make_engine
from clsgen.inference.likelihood import answer_likelihoods
from clsgen.inference.sampling import Draw, Sampler
from clsgen.llm.answers import split_thinking
from clsgen.llm.chat import ChatReply, ChatRequest
from clsgen.model import backbone
from clsgen.model.dual import DualModel
from clsgen.model.head import ClassHead

_SLOT = "CLSGENMESSAGESLOT{}X"
_GATHER_SECONDS = 0.01
"""Requests that arrive within this time of the first are answered in one batch."""


class LocalChat:
    """Answers requests by a causal language model in this process; a `Chat` like the client of an endpoint.

    Schemas are not enforced. Sampling is the engine's, each request by its own seed.

    Attributes:
        model: What it was loaded from.
        num_sent: Requests answered.
        num_estimated: 0: tokens are counted.
    """

    num_estimated = 0

    def __init__(self, language_model: Any, tokenizer: Any, *, name: str, batch_size: int) -> None:
        """Wrap a loaded model.

        Args:
            language_model: A stock causal model.
            tokenizer: Its tokenizer; one without a chat template is given the fallback.
            name: What it is called.
            batch_size: Most requests answered together.
        """
        self.model = name
        self.num_sent = 0
        self._tokenizer = tokenizer
        if not tokenizer.chat_template:
            tokenizer.chat_template = FALLBACK_CHAT_TEMPLATE
        self._plain = PlainEncoder(tokenizer)
        end_id = end_id_of(tokenizer, "a")
        self._pad_id = ensure_pad(
            tokenizer,
            num_embeddings=language_model.get_input_embeddings().num_embeddings,
            end_ids=[end_id, *backbone.end_ids(language_model)],
        )
        self._context_tokens = backbone.context_tokens(language_model)
        head = ClassHead(backbone.hidden_size(language_model), 2)  # an engine reads for two heads; this one is unread
        dual = DualModel(language_model, head.to(language_model.device), tuning="full")
        self._engine = make_engine(dual, pad_id=self._pad_id, end_id=end_id)
        self._batch_size = batch_size
        self._waiting: list[tuple[ChatRequest, list[int], asyncio.Future[ChatReply]]] = []
        self._worker: asyncio.Task[None] | None = None

    @classmethod
    def load(cls, name: str, *, batch_size: int, revision: str | None = None, dtype: str = "float32") -> LocalChat:
        """Load a model.

        Args:
            name: embedded, a path or a hub id.
            batch_size: Most requests answered together.
            revision: Hub revision; None: the default branch.
            dtype: "float32" or "bfloat16", of the weights.

        Raises:
            ModelError: It can't be loaded.
        """
        backbone.preflight(name, revision)
        tokenizer = backbone.load_tokenizer(name, revision=revision)
        model = backbone.load_backbone(name, revision=revision, dtype=dtype)
        return cls(model, tokenizer, name=name, batch_size=batch_size)

    def log_likelihoods(self, said: Sequence[Sequence[tuple[str, str]]], answers: Sequence[str]) -> list[list[float]]:
        """Log-likelihood of each answer, its end included, after each of several prompts; nothing is generated.

        Args:
            said: Messages of each prompt; what all begin with is read once.
            answers: The same after each.

        Raises:
            TeacherError: Messages are longer than the model's context (reason "too_long_prompt").
        """
        prompts = [Prompt(self.prompt_ids(messages), 0, 0) for messages in said]
        ends = [[*self._plain.encode(answer), self._engine.end_id] for answer in answers]
        for prompt in prompts:
            self._check_context(len(prompt.ids), max(map(len, ends)))
        return answer_likelihoods(self._engine.model, prompts, [ends] * len(prompts), pad_id=self._pad_id)

    async def ask(self, request: ChatRequest) -> ChatReply:
        """The answer, written together with those of other requests that wait.

        Raises:
            TeacherError: The prompt is longer than the model's context (reason "too_long_prompt").
        """
        ids = self.prompt_ids(request.messages)
        self._check_context(len(ids), request.max_tokens)
        future: asyncio.Future[ChatReply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, ids, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def _check_context(self, num_read: int, num_written: int) -> None:
        if self._context_tokens is not None and num_read + num_written > self._context_tokens:
            raise TeacherError(
                f"teacher {self.model!r}: prompt and max_tokens must fit its context of {self._context_tokens} tokens; "
                f"got {num_read} and {num_written}. Lower teacher.max_tokens, or take another model.",
                reason="too_long_prompt",
            )

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_SECONDS)
            batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
            try:
                replies = await asyncio.to_thread(self._answer, [(request, ids) for request, ids, _ in batch])
            except Exception as error:  # noqa: BLE001  (whoever waits for an answer raises it)
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, _, future), reply in zip(batch, replies, strict=True):
                if not future.done():  # its asker may have been cancelled
                    future.set_result(reply)

    def _answer(self, batch: Sequence[tuple[ChatRequest, list[int]]]) -> list[ChatReply]:
        """Answers of one batch. The last prompt id is fed as the forced one: a prefill alone gives no next id."""
        draws = [
            Draw(
                1.0 if request.temperature is None else request.temperature,
                1.0 if request.top_p is None else request.top_p,
                request.seed or 0,
            )
            for request, _ in batch
        ]
        prefilled = self._engine.prefill([Prompt(ids[:-1], 0, 0) for _, ids in batch])
        written = self._engine.generate(
            prefilled,
            [ids[-1:] for _, ids in batch],
            max_new_tokens=max(request.max_tokens for request, _ in batch),
            pick=Sampler(draws),
        )
        self.num_sent += len(batch)
        return [self._reply(request, ids, each) for (request, ids), each in zip(batch, written, strict=True)]

    def _reply(self, request: ChatRequest, prompt_ids: list[int], written: Any) -> ChatReply:
        ids, has_ended = written.ids[: request.max_tokens], written.has_ended and len(written.ids) < request.max_tokens
        thought, content = split_thinking(self._tokenizer.decode(ids, skip_special_tokens=True))
        return ChatReply(
            content=content,
            reasoning=thought,
            finish_reason="stop" if has_ended else "length",
            prompt_tokens=len(prompt_ids),
            completion_tokens=len(ids) + has_ended,
            model=self.model,
        )

    def prompt_ids(self, said: Sequence[tuple[str, str]]) -> list[int]:
        """Prompt ids of messages (role, content), up to where an answer begins.

        A message's text is encoded apart from the template, so that it yields no control token.
        """
        messages = [{"role": role, "content": _SLOT.format(n)} for n, (role, _) in enumerate(said)]
        text = str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        parts = re.split(_SLOT.format(r"(\d+)"), text)
        if sorted(parts[1::2]) != sorted(str(number) for number in range(len(messages))):
            raise TemplateError(
                "chat template: each message must be rendered once; one was dropped or doubled (a template without a "
                "system role?). Put everything into the [user] part of the prompts (teacher.prompts)."
            )
        bos_id = missing_bos(self._tokenizer, parts[0])
        ids = [] if bos_id is None else [bos_id]
        for number, part in enumerate(parts):
            if number % 2:
                ids += self._plain.encode(said[int(part)][1])
            elif part:
                ids += self._tokenizer(part, add_special_tokens=False)["input_ids"]
        return ids
