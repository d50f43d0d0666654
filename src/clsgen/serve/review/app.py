"""The page of a study: one item after another, every choice kept at once."""

from __future__ import annotations

import hmac
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Security
from fastapi.responses import FileResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

import clsgen
from clsgen.serve.errors import add_errors
from clsgen.serve.guard import hashed
from clsgen.serve.page import STATIC, add_static
from clsgen.serve.review.store import AnswerStore, Given
from clsgen.serve.review.study import Item, Study, is_complete, questions_of, read_study

_BEARER = HTTPBearer(auto_error=False, description="The reviewer's token.")
_TURNED = {"first": "second", "second": "first"}


class Progress(BaseModel):
    """An item in the reviewer's order, and whether everything about it is answered."""

    id: str
    is_complete: bool


class StudyView(BaseModel):
    """What a reviewer sees of the study."""

    title: str
    instruction: str
    labels: list[str]
    reviewer: str
    items: list[Progress]


class ShownView(BaseModel):
    """A decision and its reason; quotes are places in the document, in code points."""

    decision: str
    reason: str
    quotes: list[tuple[int, int]]


class QuestionView(BaseModel):
    """What is asked."""

    name: str
    text: str
    choices: list[str]


class ItemView(BaseModel):
    """An item, with what the reviewer said of it so far."""

    id: str
    document: str
    question: str
    shown: list[ShownView]
    questions: list[QuestionView]
    answer: dict[str, str]
    comment: str
    seconds: float


class AnswerBody(BaseModel):
    """What a reviewer says of an item; it takes the place of what they said before."""

    model_config = ConfigDict(extra="forbid")

    answer: dict[str, str]
    comment: str = Field("", max_length=10_000)
    seconds: float = Field(0.0, ge=0, le=1e7)


class OpenStudy:
    """A study and its answers.

    Args:
        folder: Of the study.

    Raises:
        ArtifactError: There is none.
    """

    def __init__(self, folder: Path) -> None:
        self.study = read_study(folder)
        self.items = {item.id: item for item in self.study.items}
        self.store = AnswerStore(folder / "answers.sqlite")
        self.store.latest()  # a database that can't be written is told before anybody answers

    def reviewer(self, token: str) -> str | None:
        """Whose token this is."""
        digest = hashed(token)
        found = [name for name, each in self.study.reviewers.items() if hmac.compare_digest(each, digest)]
        return found[0] if found else None

    def given(self, reviewer: str) -> dict[str, Given]:
        """Item id -> what they said of it."""
        return {each.item: each for each in self.store.latest() if each.reviewer == reviewer}


def order_of(study: Study, reviewer: str) -> list[str]:
    """Item ids in a reviewer's own order, one text not twice in a row where that can be helped.

    Args:
        study: The study.
        reviewer: Name; the same one always gets the same order.
    """
    rng = random.Random(f"{study.seed} {reviewer}")
    waiting = rng.sample(study.items, len(study.items))
    order: list[Item] = []
    while waiting:
        last = order[-1].document if order else None
        place = next((place for place, item in enumerate(waiting) if item.document != last), 0)
        order.append(waiting.pop(place))
    return [item.id for item in order]


def is_turned(study: Study, reviewer: str, item: Item) -> bool:
    """Whether this reviewer sees the second reason of a pair first."""
    return item.kind == "pair" and random.Random(f"{study.seed} {reviewer} {item.id}").random() < 0.5


def make_review_app(opened: OpenStudy) -> FastAPI:
    """The application of a study.

    Args:
        opened: The study and its answers.
    """
    app = FastAPI(title="clsgen review", version=clsgen.__version__, docs_url=None, redoc_url=None, openapi_url=None)
    add_errors(app)
    add_static(app)

    def reviewer(given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]) -> str:
        name = None if given is None else opened.reviewer(given.credentials)
        if name is None:
            raise HTTPException(401, "your link must hold the token that was given to you.")
        return name

    who: str = Depends(reviewer)

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "review.html")

    @app.get("/api/study")
    def study(name: str = who) -> StudyView:
        given = opened.given(name)
        progress = [
            Progress(id=each, is_complete=each in given and is_complete(opened.items[each].kind, given[each].answer))
            for each in order_of(opened.study, name)
        ]
        about = opened.study
        return StudyView(
            title=about.title, instruction=about.instruction, labels=list(about.labels), reviewer=name, items=progress
        )

    @app.get("/api/items/{number}")
    def item(number: str, name: str = who) -> ItemView:
        found = _item(opened, number)
        return _view(found, opened.given(name).get(number), is_reversed=is_turned(opened.study, name, found))

    @app.put("/api/answers/{number}")
    def answer(number: str, body: AnswerBody, name: str = who) -> Progress:
        found = _item(opened, number)
        _check(found, body.answer)
        said = _turned(body.answer) if is_turned(opened.study, name, found) else body.answer
        opened.store.put(name, number, said, body.comment, body.seconds)
        return Progress(id=number, is_complete=is_complete(found.kind, said))

    return app


def _item(opened: OpenStudy, number: str) -> Item:
    if number not in opened.items:
        raise HTTPException(404, "there is no such item in this study.")
    return opened.items[number]


def _check(item: Item, answer: Mapping[str, str]) -> None:
    choices = {question.name: question.choices for question in questions_of(item.kind)}
    for name, choice in answer.items():
        if choice not in choices.get(name, ()):
            raise HTTPException(422, f"answer: {name[:40]!r} must be asked of this item, and the choice be one of its.")


def _turned(answer: Mapping[str, str]) -> dict[str, str]:
    return {name: _TURNED.get(choice, choice) for name, choice in answer.items()}


def _view(item: Item, given: Given | None, *, is_reversed: bool) -> ItemView:
    shown: Sequence[Any] = item.shown[::-1] if is_reversed else item.shown
    answer = {} if given is None else dict(given.answer)
    return ItemView(
        id=item.id,
        document=item.document,
        question=item.question,
        shown=[ShownView(decision=each.decision, reason=each.reason, quotes=list(each.quotes)) for each in shown],
        questions=[
            QuestionView(name=each.name, text=each.text, choices=list(each.choices)) for each in questions_of(item.kind)
        ],
        answer=_turned(answer) if is_reversed else answer,
        comment="" if given is None else given.comment,
        seconds=0.0 if given is None else given.seconds,
    )
