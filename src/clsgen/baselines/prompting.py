"""Prompting a language model that was not tuned: by the likelihood of each label, or by a probability that it states.

A prompt is messages: examples, if any, then the document with what is asked of it. Labels are scored as whole answers
with their end, so that a label which begins another one gains nothing by it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsgen.errors import DataError, TeacherError
from clsgen.inference.local_teacher import LocalChat
from clsgen.llm.chat import Chat, ChatRequest, ask_all
from clsgen.llm.loop import finished
from clsgen.types import Example, TaskSpec

NUM_SHOTS = 4
MAX_SHOT_WORDS = 120
MAX_ANSWER_TOKENS = 1024
_NUMBER = r'["\']?\s*[:=]\s*["\']?(\d+(?:\.\d+)?)\s*%?'

Messages = tuple[tuple[str, str], ...]


class Stated(NamedTuple):
    """Probabilities that a model stated.

    Attributes:
        logits_NC: Log-probabilities; NaN where none could be read.
        failures: Reason -> number of rows without one.
    """

    logits_NC: NDArray[np.float64]
    failures: dict[str, int]


def choose_shots(train: Sequence[Example], spec: TaskSpec, *, seed: int, num_shots: int = NUM_SHOTS) -> list[Example]:
    """Examples for the prompt, labels in turn, drawn among rows of at most MAX_SHOT_WORDS words or the shortest.

    Raises:
        DataError: A label without a train row.
    """
    generator = np.random.default_rng(seed)
    by_label: dict[str, list[Example]] = {}
    for label in spec.labels:
        rows = sorted((row for row in train if row.label == label), key=lambda row: (_num_words(row), row.id))
        if not rows:
            raise DataError(
                f"prompting: each label must have a train row; {label!r} has none. Prompt without examples."
            )
        short = sum(_num_words(row) <= MAX_SHOT_WORDS for row in rows)
        kept = rows[: max(short, min(len(rows), num_shots))]
        by_label[label] = [kept[index] for index in generator.permutation(len(kept))]
    turns = [(label, turn) for turn in range(num_shots) for label in spec.labels]
    chosen = [by_label[label][turn] for label, turn in turns if turn < len(by_label[label])][:num_shots]
    return [chosen[index] for index in generator.permutation(len(chosen))]


def label_logits(
    chat: LocalChat, rows: Sequence[Example], spec: TaskSpec, *, shots: Sequence[Example], max_words: int
) -> NDArray[np.float64]:
    """Log-likelihood of each label as the answer, (N, C).

    Args:
        chat: The model.
        rows: What is asked about.
        spec: The task.
        shots: Examples put before each row.
        max_words: Longer documents are cut in the middle.

    Raises:
        TeacherError: A prompt longer than the model's context.
    """
    said = [label_messages(row, spec, shots=shots, max_words=max_words) for row in rows]
    found = chat.log_likelihoods(said, spec.labels)
    return np.array(found, dtype=np.float64).reshape(len(rows), spec.num_labels)


def label_messages(row: Example, spec: TaskSpec, *, shots: Sequence[Example], max_words: int) -> Messages:
    """Messages that end where a label is the answer."""
    ending = f"Answer with one of: {', '.join(spec.labels)}."
    turns = [
        part
        for shot in shots
        for part in (("user", _asked(shot, spec, MAX_SHOT_WORDS, ending)), ("assistant", str(shot.label)))
    ]
    return (*turns, ("user", _asked(row, spec, max_words, ending)))


def stated_logits(open_chat: Callable[[], Chat], rows: Sequence[Example], spec: TaskSpec, *, max_words: int) -> Stated:
    """Log of the probabilities that a model states of each label, normalised to add up to 1.

    Args:
        open_chat: Gives a server or a local model, inside the event loop that it will be asked in.
        rows: What is asked about.
        spec: The task.
        max_words: Longer documents are cut in the middle.
    """
    requests = [_verbal_request(row, spec, max_words) for row in rows]
    answers = finished(ask_all(open_chat, requests))
    failures: Counter[str] = Counter()
    logits_NC = np.full((len(rows), spec.num_labels), np.nan)
    for index, answer in enumerate(answers):
        probs = None if isinstance(answer, TeacherError) else stated_probs(answer, spec.labels)
        if probs is None:
            failures[answer.reason if isinstance(answer, TeacherError) else "unparsed"] += 1
        else:
            logits_NC[index] = np.log(np.clip(probs, 1e-4, 1))
    return Stated(logits_NC, dict(failures))


def stated_probs(answer: str, labels: Sequence[str]) -> list[float] | None:
    """Probabilities in an answer, a JSON object or `label: number` pairs in percent; None where one is missing.

    >>> stated_probs('{"no": 80, "yes": 20}', ["no", "yes"]), stated_probs("no: 75%, yes: 25%", ["no", "yes"])
    ([0.8, 0.2], [0.75, 0.25])
    >>> stated_probs("It is likely.", ["no", "yes"])
    """
    found = _from_json(answer, labels) or _from_pairs(answer, labels)
    if found is None or not all(0 <= value <= 100 for value in found) or not sum(found):
        return None
    return [value / sum(found) for value in found]


def _from_json(answer: str, labels: Sequence[str]) -> list[float] | None:
    block = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        record: Mapping[str, Any] = json.loads(block[0]) if block else {}
        return [float(record[label]) for label in labels]
    except (ValueError, KeyError, TypeError):
        return None


def _from_pairs(answer: str, labels: Sequence[str]) -> list[float] | None:
    longest_first = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    found: dict[str, float] = {}
    for label, number in re.findall(rf"(?<!\w)({longest_first}){_NUMBER}", answer):  # "eligible" ends "not eligible"
        found.setdefault(label, float(number))
    return [found[label] for label in labels] if len(found) == len(labels) else None


def _verbal_request(row: Example, spec: TaskSpec, max_words: int) -> ChatRequest:
    example = json.dumps(dict.fromkeys(spec.labels, 0))
    ending = (
        "Give the probability of each answer in percent, adding up to 100, as a JSON object and nothing else, such as "
        f"{example} with your numbers."
    )
    schema = {
        "type": "object",
        "properties": {label: {"type": "number"} for label in spec.labels},
        "required": list(spec.labels),
        "additionalProperties": False,
    }
    messages = (("user", _asked(row, spec, max_words, ending)),)
    return ChatRequest(messages, temperature=0.0, max_tokens=MAX_ANSWER_TOKENS, schema=schema)


def _asked(row: Example, spec: TaskSpec, max_words: int, ending: str) -> str:
    parts = (_cut(row.document, max_words), row.question, f"{spec.instruction} {ending}")
    return "\n\n".join(part for part in parts if part)


def _cut(document: str, max_words: int) -> str:
    """The document, or its two ends of `max_words` words together."""
    found = list(re.finditer(r"\S+", document))
    if len(found) <= max_words:
        return document
    head, tail = found[max_words - max_words // 2 - 1].end(), found[-(max_words // 2)].start()
    return f"{document[:head]} [...] {document[tail:]}"


def _num_words(row: Example) -> int:
    return len(row.document.split())
