"""One rendering: the only place that turns an example into prompt ids and target ids.

Order: document, then instruction and question, then the decision position (the prompt's last token). The chat
template runs once, when a model is made; what it renders is frozen as three pieces of text, so that no clock,
argument or template update can change a prompt later. Pieces, document, question and explanation are tokenized
apart and their ids concatenated, the same in training and serving.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from clsgen.data.tokenizer import PlainEncoder
from clsgen.errors import ArtifactError, ConfigError, DataError, TemplateError
from clsgen.types import Example, ExplanationMode, TaskSpec

Truncation = Literal["head", "tail", "middle"]

FALLBACK_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ message['content'] }}\n\n{% else %}{{ message['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Response:{% endif %}"
)
"""Saved with the model where its tokenizer has no chat template (a base model)."""

_DOCUMENT, _QUESTION, _REPLY = "CLSGENDOCUMENTSLOT", "CLSGENQUESTIONSLOT", "CLSGENREPLYSLOT"
_MODE_PREFIX: Mapping[ExplanationMode, str] = {"free": "Reason:", "decision": "Answer:"}
_ANSWER = " Answer:"


@dataclass(frozen=True, slots=True)
class Template:
    """The frozen rendering of one model; everything that a prompt depends on besides its document and question.

    Attributes:
        before: Rendered text before the document.
        between: Rendered text between document and question (the instruction stands here).
        after: Rendered text after the question, up to the decision position.
        bos_id: Id put first; None where the rendered text brings its own or the model has none.
        end_id: Id that ends an explanation.
        labels: The task's labels, as they are written after "Answer:".
        max_prompt_tokens: Longest prompt; a longer document is cut to fit.
        max_explanation_tokens: Room for everything after the decision position, end token included.
        truncation: Which part of a long document is left out.
        golden: Hash of a fixed rendered prompt; "" before it is known.
    """

    before: str
    between: str
    after: str
    bos_id: int | None
    end_id: int
    labels: tuple[str, ...]
    max_prompt_tokens: int
    max_explanation_tokens: int
    truncation: Truncation
    golden: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able mapping that `from_json` reads back."""
        return asdict(self) | {"labels": list(self.labels)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Template:
        """Read what `to_json` wrote.

        Raises:
            ArtifactError: A field is missing or unknown.
        """
        try:
            return cls(**{**record, "labels": tuple(record["labels"])})
        except (TypeError, KeyError) as error:
            raise ArtifactError(f"template.json: fields must be those of a Template; {error}.") from None


class Prompt(NamedTuple):
    """ids: the prompt, decision position last. num_cut_tokens: document tokens left out.

    document_end: ids up to the document's end, which are the same whatever is asked about it.
    """

    ids: list[int]
    num_cut_tokens: int
    document_end: int


class ParsedExplanation(NamedTuple):
    """text: the reason without the stated answer. stated_label: None where the text states no known label."""

    text: str
    stated_label: str | None


def build_template(
    tokenizer: Any,
    spec: TaskSpec,
    *,
    max_length_tokens: int,
    max_explanation_tokens: int,
    truncation: Truncation = "middle",
) -> Template:
    """Render the tokenizer's chat template once and freeze it.

    A tokenizer without a chat template is given `FALLBACK_CHAT_TEMPLATE`, which is saved with it.

    Args:
        tokenizer: A fast tokenizer.
        spec: The task; its instruction follows the document.
        max_length_tokens: Prompt and explanation together.
        max_explanation_tokens: Room kept for what follows the decision position.
        truncation: Which part of a long document is left out.

    Raises:
        TemplateError: The chat template drops, doubles or reorders document and question.
    """
    if not tokenizer.chat_template:
        tokenizer.chat_template = FALLBACK_CHAT_TEMPLATE
    content = f"{_DOCUMENT}\n\n{spec.instruction}\n{_QUESTION}"
    rendered = _render(tokenizer, [{"role": "user", "content": content}], add_generation_prompt=True)
    if [rendered.count(slot) for slot in (_DOCUMENT, _QUESTION)] != [1, 1] or rendered.index(
        _DOCUMENT
    ) > rendered.index(_QUESTION):
        raise TemplateError(
            "chat template: a user message must be rendered once and in order; document or question was dropped, "
            "doubled or moved. Set another chat_template on the tokenizer."
        )
    before, rest = rendered.split(_DOCUMENT)
    between, after = rest.split(_QUESTION)
    return Template(
        before=before,
        between=between,
        after=after,
        bos_id=missing_bos(tokenizer, before),
        end_id=end_id_of(tokenizer, content),
        labels=spec.labels,
        max_prompt_tokens=max_length_tokens - max_explanation_tokens,
        max_explanation_tokens=max_explanation_tokens,
        truncation=truncation,
    )


def sealed(template: Template, tokenizer: Any) -> Renderer:
    """A renderer whose template carries the golden hash; called when the tokenizer will change no more."""
    golden = Renderer(template, tokenizer).golden_hash()
    return Renderer(replace(template, golden=golden), tokenizer)


def _render(tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
    # enable_thinking=False: a reasoning model's template then closes its thinking block inside the prompt.
    return str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, enable_thinking=False
        )
    )


def missing_bos(tokenizer: Any, before: str) -> int | None:
    """The begin id where the tokenizer adds one by itself and the rendered text has none: never two."""
    default = tokenizer("a")["input_ids"]
    begins_with_bos = bool(default) and default[0] == tokenizer.bos_token_id
    if not begins_with_bos or (tokenizer.bos_token and before.startswith(tokenizer.bos_token)):
        return None
    return int(tokenizer.bos_token_id)


def end_id_of(tokenizer: Any, content: str) -> int:
    """The control token that the chat template puts after a reply, else the end token."""
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": _REPLY}]
    tail = _render(tokenizer, messages, add_generation_prompt=False).rpartition(_REPLY)[2]
    added = {int(index) for index in tokenizer.added_tokens_decoder}
    for token_id in tokenizer(tail, add_special_tokens=False)["input_ids"]:
        if token_id in added:
            return int(token_id)
    if tokenizer.eos_token_id is None:
        raise TemplateError("tokenizer: eos_token must be set, or the chat template must end a reply with a token.")
    return int(tokenizer.eos_token_id)


class Renderer:
    """A template with its tokenizer: text in, ids out, and back."""

    def __init__(self, template: Template, tokenizer: Any) -> None:
        self.template = template
        self._tokenizer = tokenizer
        self._plain = PlainEncoder(tokenizer)
        start = [] if template.bos_id is None else [template.bos_id]
        self._before = start + self._encode_template(template.before)
        self._between = self._encode_template(template.between)
        self._after = self._encode_template(template.after)
        if not self._after:
            raise TemplateError("chat template: text must follow the question, so that a decision position exists.")

    @property
    def pieces(self) -> tuple[list[int], list[int], list[int]]:
        """Ids before the document, between document and question, and after the question."""
        return list(self._before), list(self._between), list(self._after)

    def prompt(self, document: str, question: str = "") -> Prompt:
        """Ids of document, instruction, question; the last one is the decision position.

        Only the document is ever cut, and by how much depends on nothing that comes after the prompt.

        Raises:
            DataError: The question leaves no room for the document.
        """
        question_ids = self._plain.encode(question)
        room = self._room(question_ids)
        if room < 1:
            raise DataError(f"prompt: {self._no_room(room)}")
        document_ids = self._plain.encode(document)
        num_cut = max(0, len(document_ids) - room)
        kept = _cut(document_ids, room, self.template.truncation) if num_cut else document_ids
        shared = self._before + kept
        return Prompt(shared + self._between + question_ids + self._after, num_cut, len(shared))

    def check_questions(self, rows: Sequence[Example]) -> None:
        """Refuse rows whose questions leave no room for a document, all of them at once.

        Raises:
            DataError: There are any; the first one is named.
        """
        asked = ((row.id, self._room(self._plain.encode(row.question))) for row in rows if row.question)
        long = [(name, room) for name, room in asked if room < 1]
        if long:
            others = f" (and {len(long) - 1} other rows)" if len(long) > 1 else ""
            raise DataError(f"row {long[0][0]}{others}: {self._no_room(long[0][1])}")

    def _room(self, question_ids: Sequence[int]) -> int:
        fixed = len(self._before) + len(self._between) + len(question_ids) + len(self._after)
        return self.template.max_prompt_tokens - fixed

    def _no_room(self, room: int) -> str:
        most = self.template.max_prompt_tokens
        return (
            f"instruction and question must leave room for the document; they take {most - room} of {most} tokens. "
            "Shorten them or raise model.max_length_tokens."
        )

    def forced(self, mode: ExplanationMode, decision: str | None = None) -> list[int]:
        """Ids that serving puts after the decision position before it generates.

        Args:
            mode: free writes `Reason:`; decision writes `Answer: <decision>. Reason:`.
            decision: The label that the head decided; needed in decision mode.
        """
        prefix = self._plain.encode(_MODE_PREFIX[mode])
        if mode == "free":
            return prefix
        if decision is None:
            raise ValueError("decision mode needs the decided label")
        return prefix + self._plain.encode(f" {decision}. Reason:")

    def check_room(self, *modes: ExplanationMode) -> None:
        """Refuse explanations that could not be a word long.

        Raises:
            ConfigError: The words put before a reason take all the room that it has, for some label.
        """
        room = self.template.max_explanation_tokens
        for mode in modes:
            longest = max(len(self.forced(mode, label)) for label in self.template.labels)
            if longest >= room:
                raise ConfigError(
                    f"model.max_explanation_tokens must be above {longest}, the tokens that are put before a reason in "
                    f"mode {mode}; got {room}. Train with more, or without explanations (train.explanation_weight: 0)."
                )

    def target(self, explanation: str, label: str | None, mode: ExplanationMode) -> list[int] | None:
        """Ids that training supervises after the decision position; None where they exceed the room for them.

        A row without a label can only be trained in free mode; its target stops before the answer.
        """
        text = f" {explanation.strip()}"
        if label is None:
            ids = self.forced("free") + self._plain.encode(text + _ANSWER)
        elif mode == "free":
            ids = [
                *self.forced("free"),
                *self._plain.encode(f"{text}{_ANSWER} {label}"),
                self.template.end_id,
            ]
        else:
            ids = [*self.forced("decision", label), *self._plain.encode(text), self.template.end_id]
        return ids if len(ids) <= self.template.max_explanation_tokens else None

    def parse(self, generated_ids: list[int], mode: ExplanationMode) -> ParsedExplanation:
        """Split what was generated after the forced ids into the reason and the label it states.

        In decision mode the label was given, not stated: stated_label is None there.
        """
        return self.parse_text(self.decode(generated_ids), mode)

    def parse_text(self, text: str, mode: ExplanationMode) -> ParsedExplanation:
        """The same for a text that another engine wrote, without the forced words."""
        if mode == "decision":
            return ParsedExplanation(text.strip(), None)
        reason, found, answer = text.rpartition(_ANSWER)
        if not found:
            return ParsedExplanation(text.strip(), None)
        written = answer.strip()
        stated = written if written in self.template.labels else written.rstrip(".").strip()
        return ParsedExplanation(reason.strip(), stated if stated in self.template.labels else None)

    def sure_reason(self, text: str, mode: ExplanationMode) -> str:
        """What of a text that is still being written is of its reason, whatever comes next: a beginning of it."""
        end = len(text)
        if mode == "free":
            found = text.rfind(_ANSWER)
            begun = next(size for size in range(len(_ANSWER) - 1, -1, -1) if text.endswith(_ANSWER[:size]))
            end = found if found >= 0 else end - begun
        return text[:end].strip()

    def decode(self, ids: list[int]) -> str:
        """Text of generated ids, without control tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def decode_all(self, ids: list[int]) -> str:
        """Text of ids with control tokens shown, for people who look at rendered rows."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def golden_hash(self) -> str:
        """Hash of a fixed prompt's ids: changes when tokenizer or template do.

        The document holds every added token's text, so that a tokenizer that lets one through changes the hash.
        """
        added = " ".join(str(token) for token in self._tokenizer.added_tokens_decoder.values())
        document = f"Seen on day 3: pH 7.31, 65-year-old, naïve to β-blockers.\n{added[:2000]}"
        ids = [
            *self._before,
            *self._plain.encode(document),
            *self._between,
            *self._plain.encode("Is it so?"),
            *self._after,
            *self.forced("decision", self.template.labels[0]),
            self.template.end_id,
        ]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    def check_golden(self) -> None:
        """Compare the golden prompt with the one saved.

        Raises:
            TemplateError: Tokenizer or template render otherwise than when the model was saved.
        """
        if self.golden_hash() != self.template.golden:
            raise TemplateError(
                "template.json: the golden prompt must render as when the model was saved; it does not. "
                "Tokenizer or template files were changed: restore them, or train again."
            )

    def _encode_template(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _cut(ids: list[int], room: int, truncation: Truncation) -> list[int]:
    """Keep `room` ids; `truncation` names the part that goes."""
    if truncation == "head":
        return ids[len(ids) - room :]
    if truncation == "tail":
        return ids[:room]
    first = (room + 1) // 2
    return ids[:first] + ids[len(ids) - (room - first) :]
