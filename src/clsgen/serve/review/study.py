"""A study: what reviewers are shown, what they are asked, and, in a file apart, what they must not know.

study.json    what the page shows: texts, decisions, reasons; reviewers with the hash of their token
key.json      the item's model, known label, stratum; read by the analysis alone
answers.sqlite
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from clsgen.artifacts import make_folder, write_json_atomic
from clsgen.errors import ArtifactError

Kind = Literal["rating", "pair", "check"]
"""rating: one decision with its reason. pair: two reasons for one text. check: like a rating, but instead of the reason
it shows what to answer."""

FORMAT = 1


class Question(NamedTuple):
    """name: in files. text: as asked. choices: from best to worst."""

    name: str
    text: str
    choices: tuple[str, ...]


QUESTIONS = (
    Question("agrees", "Do you agree with the decision?", ("yes", "unsure", "no")),
    Question("supports", "Does the reason support the decision?", ("yes", "partly", "no")),
    Question("faithful", "Is the reason faithful to the text?", ("yes", "partly", "no")),
    Question("readable", "Is the reason easy to read?", ("yes", "partly", "no")),
    Question("harmful", "Could the reason do harm if somebody acted on it?", ("no", "possibly", "yes")),
)
PREFERENCE = Question("preferred", "Which reason is better?", ("first", "no difference", "second"))


def questions_of(kind: Kind) -> tuple[Question, ...]:
    """What is asked about an item."""
    return (PREFERENCE,) if kind == "pair" else QUESTIONS


def is_complete(kind: Kind, answer: Mapping[str, str]) -> bool:
    """Whether every question about an item is answered."""
    return all(question.name in answer for question in questions_of(kind))


class Shown(NamedTuple):
    """A decision and its reason, as they are shown; quotes: where in the text its quotes stand."""

    decision: str
    reason: str
    quotes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to judge.

    Attributes:
        id: Says nothing about what it is.
        kind: See `Kind`.
        document: The text.
        question: What was asked of the text; "" where the instruction says all.
        shown: One decision with its reason, or two.
    """

    id: str
    kind: Kind
    document: str
    question: str
    shown: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """What reviewers must not know of an item.

    Attributes:
        row_id: Of the row.
        group: The row's group, for intervals.
        models: Of what is shown, in its order.
        label: The known label; None where unknown.
        stratum: Decision, correctness and confidence of the first model.
        share: Rows of the stratum that were drawn over those there are.
    """

    row_id: str
    group: str
    models: tuple[str, ...]
    label: str | None
    stratum: str
    share: float


@dataclass(frozen=True, slots=True)
class Study:
    """What the page shows.

    Attributes:
        title: Of the study.
        instruction: What the models were asked.
        labels: The task's labels.
        reviewers: Name -> SHA-256 of the token, in hex.
        seed: Of the order of items.
        items: What is to be judged.
        is_restricted: Data under an access agreement.
    """

    title: str
    instruction: str
    labels: tuple[str, ...]
    reviewers: Mapping[str, str]
    seed: int
    items: tuple[Item, ...]
    is_restricted: bool


def write_study(folder: Path, study: Study, keys: Mapping[str, Key], models: Mapping[str, str]) -> None:
    """Write a new study; its files are readable by their owner alone.

    Args:
        folder: Where; must not be there.
        study: What is shown.
        keys: Item id -> what is not.
        models: Name -> SHA-256 of its predictions.

    Raises:
        ArtifactError: There is a study already, or it can't be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ArtifactError(f"{folder} must be empty; it is not, and may hold answers. Choose another folder.")
    make_folder(folder)
    key = {"format": FORMAT, "models": dict(models), "items": {name: asdict(each) for name, each in keys.items()}}
    write_json_atomic(folder / "key.json", key, is_private=True)
    write_json_atomic(folder / "study.json", {"format": FORMAT, **asdict(study)}, is_private=True)


def read_study(folder: Path) -> Study:
    """The study of a folder.

    Raises:
        ArtifactError: There is none, or it is broken.
    """
    record = _read(folder / "study.json")
    try:
        items = tuple(
            Item(**{**each, "shown": tuple(_shown(one) for one in each["shown"])}) for each in record.pop("items")
        )
        return Study(**{**record, "labels": tuple(record["labels"]), "items": items})
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / 'study.json'} must be a study; {error!r}. Create it again.") from error


def read_keys(folder: Path) -> tuple[dict[str, Key], dict[str, str]]:
    """Item id -> key, and model -> SHA-256 of its predictions.

    Raises:
        ArtifactError: There is none, or it is broken.
    """
    record = _read(folder / "key.json")
    try:
        keys = {name: Key(**{**each, "models": tuple(each["models"])}) for name, each in record["items"].items()}
        return keys, dict(record["models"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / 'key.json'} must be a study's key; {error!r}. Create it again.") from error


def _shown(record: Any) -> Shown:
    decision, reason, quotes = record
    return Shown(decision, reason, tuple((start, end) for start, end in quotes))


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{file} must be readable JSON; {error}. Make a study with: clsgen review create"
        ) from error
    if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
        raise ArtifactError(f"{file} must be of format {FORMAT}; it is not. Create the study again.")
    return record
