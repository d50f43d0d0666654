"""What a strategy asks of a teacher, round by round: the requests of each row, each with a key that never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from clsgen.data.teacher.prompts import Kind, Prompts
from clsgen.llm.chat import ChatRequest
from clsgen.types import Example, TaskSpec

Strategy = Literal["blind", "hinted", "blind_then_hinted", "both_sides", "human"]


class Round(NamedTuple):
    """One round of a strategy.

    kind: the prompt. is_for_each_label: asked once for each label, else once. is_for_open_rows: asked only of rows
    without an explanation after the rounds before.
    """

    kind: Kind
    is_for_each_label: bool = False
    is_for_open_rows: bool = False


ROUNDS: Mapping[Strategy, tuple[Round, ...]] = MappingProxyType(
    {
        "blind": (Round("blind"),),
        "hinted": (Round("hinted"),),
        "blind_then_hinted": (Round("blind"), Round("hinted", is_for_open_rows=True)),
        "both_sides": (Round("argue", is_for_each_label=True),),
        "human": (),
    }
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a teacher.

    Attributes:
        key: Hash of everything that the answer depends on: messages, model, parameters, example.
        example_id: The row that it is about.
        kind: The prompt.
        label: The label that the prompt tells; None where it tells none.
        sample: 0, 1, ... for the samples of one prompt.
        request: What is sent.
    """

    key: str
    example_id: str
    kind: Kind
    label: str | None
    sample: int
    request: ChatRequest


@dataclass(frozen=True, slots=True)
class Asking:
    """How rows are asked about.

    Attributes:
        spec: The task.
        prompts: The prompt files.
        model: Name of the model, which is part of each key.
        num_samples: Answers a prompt.
        temperature: As in ChatRequest.
        top_p: As in ChatRequest.
        max_tokens: As in ChatRequest.
        seed: Seed of the first sample; the others count up.
        extra: Further fields of the requests, which the answers depend on too.
        copies: Id of a row -> how many rows before it are the same, so that each is asked about by itself.
    """

    spec: TaskSpec
    prompts: Prompts
    model: str
    num_samples: int
    temperature: float | None
    top_p: float | None
    max_tokens: int
    seed: int
    extra: Mapping[str, Any] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)

    def asks(self, example: Example, round_: Round) -> Iterator[Ask]:
        """The requests of one row in one round."""
        labels = self._told(example, round_)
        for label in labels:
            messages = self.prompts.by_kind[round_.kind].messages(example, self.spec, label)
            for sample in range(self.num_samples):
                request = ChatRequest(
                    messages,
                    temperature=self.temperature,
                    top_p=self.top_p,
                    max_tokens=self.max_tokens,
                    seed=self.seed + sample,
                    schema=answer_schema(self.spec.labels),
                )
                yield Ask(self._key(example.id, request), example.id, round_.kind, label, sample, request)

    def num_asks(self, round_: Round) -> int:
        """Requests of one row in one round."""
        return self.num_samples * (self.spec.num_labels if round_.is_for_each_label else 1)

    def _told(self, example: Example, round_: Round) -> Sequence[str | None]:
        if round_.is_for_each_label:
            return self.spec.labels
        return (None if round_.kind == "blind" else example.label,)

    def _key(self, example_id: str, request: ChatRequest) -> str:
        parts = [
            self.model,
            dict(self.extra),
            self.copies.get(example_id, 0),
            request.messages,
            request.temperature,
            request.top_p,
            request.max_tokens,
            request.seed,
            request.schema,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def answer_schema(labels: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an answer: the reason first, then one of the labels."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "answer": {"type": "string", "enum": list(labels)}},
        "required": ["reason", "answer"],
        "additionalProperties": False,
    }
