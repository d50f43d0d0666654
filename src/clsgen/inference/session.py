"""Texts that come in at any time: each gets its probability as soon as it is read, and its reason step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from clsgen.data.template import Prompt
from clsgen.inference.engine import Generated, Prefilled
from clsgen.types import Example, ExplanationMode, Prediction

if TYPE_CHECKING:
    from clsgen.inference.predictor import Classifier


class Asked(NamedTuple):
    """A text and what is wanted of it.

    Attributes:
        key: What the session calls it; no two that are in it at once have the same.
        example: The text.
        explains: Whether a reason is wanted beside the probability.
        mode: Explanation mode.
        prior: Prevalence of each label where the text comes from; None: that of the calibration rows.
        prompt: The example's, where it is known already.
    """

    key: int
    example: Example
    explains: bool = False
    mode: ExplanationMode = "free"
    prior: tuple[float, ...] | None = None
    prompt: Prompt | None = None


class Progress(NamedTuple):
    """A step of a reason.

    key: of the text. text: what was added to the reason; all pieces together are the reason, without the answer that it
    states. num_tokens: written in this step. prediction: the whole answer, once the reason has ended.
    """

    key: int
    text: str
    num_tokens: int
    prediction: Prediction | None = None


@dataclass(slots=True)
class _Reason:
    """A reason that is being written."""

    first: Prediction
    mode: ExplanationMode
    ids: list[int] = field(default_factory=list)
    shown: str = ""


class Session:
    """Asks a classifier for whoever comes.

    Reading goes before writing: whoever calls reads what has come in, then lets all reasons advance by a step, and so
    on. The answers are those of `Classifier.predict`.

    Args:
        classifier: The model.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._engine = classifier.engine
        self._writer = self._engine.writer(classifier.pick())
        self._waiting: deque[tuple[int, Prefilled]] = deque()
        self._reasons: dict[int, _Reason] = {}

    @property
    def num_reasons(self) -> int:
        """Reasons that are being written or wait for it."""
        return len(self._reasons)

    @property
    def max_rows(self) -> int:
        """Reasons that may be written at a time."""
        return self._writer.max_rows

    def prompt(self, example: Example) -> Prompt:
        """The prompt of a text, to know how long it is.

        Raises:
            DataError: An empty text, or a question that leaves no room for it.
        """
        (prompt,) = self._classifier.prompts([example])
        return prompt

    @torch.inference_mode()
    def read(self, asked: Sequence[Asked]) -> dict[int, Prediction]:
        """Read texts together.

        Args:
            asked: The texts.

        Returns:
            Key -> probability and decision, for every text; reasons follow by `step`.
        """
        prompts = [self.prompt(each.example) if each.prompt is None else each.prompt for each in asked]
        found: dict[int, Prediction] = {}
        for explains in (False, True):
            rows = [row for row, each in enumerate(asked) if each.explains == explains]
            parts = self._engine.plan([prompts[row] for row in rows], batch_tokens=self._classifier.batch_tokens)
            if explains and not self._engine.can_split:
                parts = [[index] for index in range(len(rows))]
            for part in parts:
                chunk = [rows[index] for index in part]
                found |= self._read([asked[row] for row in chunk], [prompts[row] for row in chunk])
        return found

    def _read(self, asked: Sequence[Asked], prompts: Sequence[Prompt]) -> dict[int, Prediction]:
        """Texts of one batch, of which all or none are to be explained."""
        prefilled = self._engine.prefill(prompts) if asked[0].explains else None
        logits_BC = self._engine.class_logits(prompts) if prefilled is None else prefilled.class_logits_BC
        found: dict[int, Prediction] = {}
        for row, (each, prompt) in enumerate(zip(asked, prompts, strict=True)):
            (judged,) = self._classifier.judge([each.example], logits_BC[row : row + 1].numpy(), each.prior)
            found[each.key] = replace(judged, num_document_tokens_cut=prompt.num_cut_tokens)
            if prefilled is not None:
                self._waiting.append((each.key, prefilled.select([row])))
                self._reasons[each.key] = _Reason(found[each.key], each.mode)
        return found

    def cancel(self, key: int) -> None:
        """Nobody waits for this reason any more."""
        self._reasons.pop(key, None)
        self._waiting = deque(each for each in self._waiting if each[0] != key)
        self._writer.drop(key)

    def step(self) -> list[Progress]:
        """Let every reason that has a place advance by a step; a place that gets free is taken by the next one."""
        while self._waiting and self._writer.has_room:
            key, prefilled = self._waiting.popleft()
            reason = self._reasons[key]
            forced = self._classifier.forced(reason.mode, reason.first)
            self._writer.add(key, prefilled, forced, max_new_tokens=self._classifier.room(forced))
        if not self._writer.num_rows:
            return []
        return [self._progress(key, ids) for key, ids in self._writer.step().items()]

    def _progress(self, key: int, ids: list[int]) -> Progress:
        reason = self._reasons[key]
        has_ended = ids[-1] == self._engine.end_id
        reason.ids += ids[:-1] if has_ended else ids
        room = self._classifier.room(self._classifier.forced(reason.mode, reason.first))
        if has_ended or len(reason.ids) == room:
            del self._reasons[key]
            done = self._classifier.with_reason(reason.first, Generated(reason.ids, has_ended), reason.mode)
            return Progress(key, (done.explanation or "")[len(reason.shown) :], len(ids), done)
        renderer, before = self._classifier.bundle.renderer, reason.shown
        written = renderer.decode(reason.ids)
        if not written.endswith("\ufffd"):  # a character whose bytes are not all there yet
            reason.shown = renderer.sure_reason(written, reason.mode)
        return Progress(key, reason.shown[len(before) :], len(ids))
