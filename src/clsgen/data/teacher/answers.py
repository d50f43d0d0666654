"""The reason and the label in what a teacher wrote: JSON where it kept to it, the words Reason and Answer elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from clsgen.llm.answers import whole

_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_REASON = re.compile(r"\breason\s*:\s*", re.IGNORECASE)
_ANSWER = re.compile(r"\banswer\s*:\s*([^\n]+)", re.IGNORECASE)
_MOST_CHARS = 50_000
"""A longer reply is no explanation, and is not searched for one."""
_MOST_OBJECTS = 50
"""So many opening braces from the end on may begin the answer's object."""


class Answer(NamedTuple):
    """reason: "" where there is none. label: None where no known label is stated."""

    reason: str
    label: str | None


def read_answer(content: str, labels: Sequence[str]) -> Answer:
    r"""The answer in a reply, without what was thought before it.

    Args:
        content: The reply: JSON, JSON in a fence or among other words, or `Reason: ... Answer: ...`.
        labels: The task's labels; letter case, quotation marks and a period around one are forgiven.

    >>> read_answer('```json\n{"reason": "No pain.", "answer": "Yes"}\n```', ("no", "yes"))
    Answer(reason='No pain.', label='yes')
    >>> read_answer("Reason: no pain.\nAnswer: perhaps", ("no", "yes"))
    Answer(reason='no pain.', label=None)
    """
    if len(content) > _MOST_CHARS:
        return Answer("", None)
    record = _json_in(content)
    if record is not None:
        return Answer(_plain(record.get("reason")), _known(record.get("answer"), labels))
    text = content.replace("**", "")
    begin = _REASON.search(text)
    stated = list(_ANSWER.finditer(text, begin.end())) if begin else []
    if begin and stated:
        return Answer(_plain(text[begin.end() : stated[-1].start()]), _known(stated[-1][1], labels))
    return Answer("", None)


def _json_in(content: str) -> dict[str, Any] | None:
    """The reply as a JSON object with a reason, else the last such object in it; None where there is none."""
    starts = [match.start() for match in re.finditer(r"\{", content)][-_MOST_OBJECTS:]
    for text, start in (
        *((text, None) for text in (content, *reversed(_FENCE.findall(content)))),
        *((content, start) for start in reversed(starts)),
    ):
        try:
            # strict=False: small models write line breaks into strings as they are
            decoder = json.JSONDecoder(strict=False)
            record = decoder.decode(text) if start is None else decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and "reason" in record:
            return record
    return None


def _plain(value: Any) -> str:
    return " ".join(whole(value).split()) if isinstance(value, str) else ""


def _known(value: Any, labels: Sequence[str]) -> str | None:
    """The label that a value states, as it is or with what is forgiven; None where none is stated, or two could be."""
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, str | int | float):
        return None
    stated = str(value).strip()
    if stated in labels:
        return stated
    found = [label for label in labels if _forgiven(label) == _forgiven(stated)]
    return found[0] if len(found) == 1 else None


def _forgiven(text: str) -> str:
    return text.strip().strip("*\"'“”`. ").casefold()
