"""The reason and the label in what a teacher wrote: JSON where it kept to it, the words Reason and Answer elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_WRITTEN = re.compile(r"\breason\s*:\s*(?P<reason>.+?)\s*\banswer\s*:\s*(?P<answer>[^\n]+)", re.DOTALL | re.IGNORECASE)


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
    record = _json_in(content)
    if record is not None:
        return Answer(_plain(record.get("reason")), _known(record.get("answer"), labels))
    written = _WRITTEN.search(content.replace("**", ""))
    if written is not None:
        return Answer(_plain(written["reason"]), _known(written["answer"], labels))
    return Answer("", None)


def _json_in(content: str) -> dict[str, Any] | None:
    """The last JSON object of the reply that has a reason; None where there is none."""
    starts = [match.start() for match in re.finditer(r"\{", content)]
    for text in (content, *reversed(_FENCE.findall(content)), *(content[start:] for start in reversed(starts))):
        try:
            record, _ = json.JSONDecoder().raw_decode(text.strip())
        except ValueError:
            continue
        if isinstance(record, dict) and "reason" in record:
            return record
    return None


def _plain(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _known(value: Any, labels: Sequence[str]) -> str | None:
    if isinstance(value, bool):
        value = str(value).lower()
    stated = str(value).strip().strip("*\"'“”`. ").casefold()
    found = [label for label in labels if label.casefold() == stated]
    return found[0] if len(found) == 1 else None
