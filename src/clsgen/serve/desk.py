"""One thread that asks the model for everybody: texts come in by client, answers go out as they are made.

It reads what has come in, lets every reason advance by a step, and so on. So a probability waits for one reading and
one step at most, however long the reasons are, and clients take turns.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple, Protocol

import structlog

from clsgen.data.template import Prompt
from clsgen.errors import ClsgenError, DataError
from clsgen.inference.predictor import Classifier
from clsgen.inference.session import Asked, Session
from clsgen.serve.errors import Closing, ModelFailed, Overdue, QueueFull
from clsgen.serve.guard import named
from clsgen.serve.memory import give_back
from clsgen.types import Example, ExplanationMode, Prediction

log = structlog.get_logger("clsgen.serve")

_AHEAD = 8
"""Reasons whose text is read already, beyond those that are being written. More would make whoever comes next wait, for
clients take turns in line and no longer behind it."""


class Answer(NamedTuple):
    """What a request is given: its probability, then pieces of text, then the whole; or an error, which ends it.

    prediction: at the probability and at the end. text: a piece. is_last: whether nothing follows. num_read,
    num_written: tokens of the request so far.
    """

    prediction: Prediction | None = None
    text: str = ""
    error: ClsgenError | None = None
    is_last: bool = False
    num_read: int = 0
    num_written: int = 0


class Watch(Protocol):
    """What is told how much is done; see metrics.py."""

    def read(self, num_texts: int, num_tokens: int) -> None:
        """A batch was read."""

    def wrote(self, num_tokens: int) -> None:
        """Tokens were written."""


@dataclass(slots=True)
class Request:
    """A text that somebody asks about.

    Attributes:
        client: Who; clients take turns.
        example: The text.
        deliver: Called with every answer, from the desk's thread.
        explains: Whether a reason is wanted.
        mode: Explanation mode.
        deadline: By when, on the monotonic clock.
        seconds: How long that is from when it came in.
        prompt: Of the example; made when it is submitted.
        num_written: Tokens of the reason so far.
    """

    client: str
    example: Example
    deliver: Callable[[Answer], None]
    explains: bool = False
    mode: ExplanationMode = "free"
    deadline: float = float("inf")
    seconds: float = 0.0
    prompt: Prompt | None = None
    num_written: int = 0

    @property
    def num_tokens(self) -> int:
        """Of the prompt."""
        return 0 if self.prompt is None else len(self.prompt.ids)


@dataclass(slots=True)
class _Line:
    """Requests that wait, a queue a client; clients take turns."""

    queues: OrderedDict[str, deque[int]] = field(default_factory=OrderedDict)

    def put(self, client: str, key: int) -> None:
        self.queues.setdefault(client, deque()).append(key)

    def take(self) -> Iterator[int]:
        """The next of each client in turn, until nobody waits or the caller stops."""
        while self.queues:
            client, queue = self.queues.popitem(last=False)
            key = queue.popleft()
            if queue:
                self.queues[client] = queue
            yield key

    def put_back(self, client: str, key: int) -> None:
        queue = self.queues.setdefault(client, deque())
        queue.appendleft(key)
        self.queues.move_to_end(client, last=False)


class Desk:
    """Owns the model; a thread of its own works while there is anything to do.

    Args:
        classifier: The model; nobody else may use it meanwhile.
        batch_tokens: Tokens read between two steps.
        max_queued: Texts that may wait; beyond them a client may have its share of so many, an equal part.
        max_tokens: Longest text, the rest of the prompt included; also where less of it would be read.
        watch: Is told how much is done.
    """

    def __init__(
        self, classifier: Classifier, *, batch_tokens: int, max_queued: int, max_tokens: int, watch: Watch
    ) -> None:
        self._session = Session(classifier)
        self._batch_tokens, self._max_queued, self._watch = batch_tokens, max_queued, watch
        self._max_tokens = max_tokens
        self._requests: dict[int, Request] = {}
        self._lines = {False: _Line(), True: _Line()}
        self._waiting: set[int] = set()
        self._gone: set[int] = set()
        self._keys = count()
        self._is_closing = self._gives_up = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="desk", daemon=True)
        self._thread.start()

    # ---- for whoever asks ----

    def submit(self, requests: Sequence[Request]) -> list[int]:
        """Put the requests of one client in line, all or none.

        Returns:
            A key for each, for `cancel`.

        Raises:
            QueueFull, Closing: They are not taken.
            DataError: An empty text, one that is too long, or a question that leaves no room for it.
        """
        for request in requests:
            request.prompt = self._prompt(request.example)
        with self._changed:
            if self._is_closing:
                raise Closing
            if not self._has_room(requests):
                raise QueueFull(self._max_queued, 1 + len(self._waiting) // 32)
            keys = [next(self._keys) for _ in requests]
            for key, request in zip(keys, requests, strict=True):
                self._requests[key] = request
                self._waiting.add(key)
                self._lines[request.explains].put(request.client, key)
            self._changed.notify()
        return keys

    def _prompt(self, example: Example) -> Prompt:
        prompt = self._session.prompt(example)
        num_tokens = len(prompt.ids) + prompt.num_cut_tokens
        if num_tokens > self._max_tokens:
            raise DataError(
                f"a text must be at most {self._max_tokens:,} tokens, what is asked of it included; {example.id} has "
                f"{num_tokens:,}. Send the part that matters."
            )
        return prompt

    def _has_room(self, requests: Sequence[Request]) -> bool:
        """Whether the line takes them: a client that has less than its share in it is never kept out by others."""
        clients = [self._requests[key].client for key in self._waiting]
        own = {request.client for request in requests}
        share = self._max_queued // len({*clients, *own})
        is_modest = sum(client in own for client in clients) + len(requests) <= share
        return is_modest or len(clients) + len(requests) <= self._max_queued

    def cancel(self, key: int) -> None:
        """Nobody waits for this one any more."""
        with self._changed:
            if key in self._requests:
                self._gone.add(key)
                self._changed.notify()

    @property
    def num_queued(self) -> int:
        """Texts that wait to be read."""
        return len(self._waiting)

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return len(self._requests)

    def close(self, timeout_s: float) -> bool:
        """Take nothing new, end what is there; whether all of it ended in time."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """Take nothing new, and tell everybody who waits that the server stops."""
        with self._changed:
            self._is_closing = self._gives_up = True
            self._changed.notify()

    # ---- the thread ----

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._requests and not self._is_closing:
                    give_back()
                    self._changed.wait()
                if not self._requests:
                    return
                gone, self._gone = self._gone, set()
                left = list(self._requests) if self._gives_up else []
                chosen = self._next_texts()
            for key in gone:
                self._end(key, None)
            for key in left:
                self._end(key, Answer(error=Closing(), is_last=True))
            self._drop_overdue()
            try:
                self._read([key for key in chosen if key in self._requests])
                self._advance()
            except Exception as error:  # noqa: BLE001 - the thread serves everybody: one failure must not end it
                self._fail_all(error)

    def _next_texts(self) -> list[int]:
        """Texts that are read now: those that want a probability alone come first."""
        chosen: list[int] = []
        room = self._batch_tokens
        for explains, line in self._lines.items():
            for key in line.take():
                request = self._requests.get(key)
                if request is None:
                    continue
                is_late = explains and self._session.num_reasons + len(chosen) >= self._session.max_rows + _AHEAD
                if is_late or (chosen and request.num_tokens > room):
                    line.put_back(request.client, key)
                    break
                self._waiting.discard(key)
                chosen.append(key)
                room -= request.num_tokens
        return chosen

    def _read(self, keys: list[int]) -> None:
        if not keys:
            return
        requests = [self._requests[key] for key in keys]
        asked = [
            Asked(key, each.example, each.explains, each.mode, prompt=each.prompt)
            for key, each in zip(keys, requests, strict=True)
        ]
        found = self._session.read(asked)
        self._watch.read(len(keys), sum(each.num_tokens for each in requests))
        for key, request in zip(keys, requests, strict=True):
            answer = Answer(found[key], is_last=not request.explains, num_read=request.num_tokens)
            if answer.is_last:
                self._end(key, answer)
            else:
                request.deliver(answer)

    def _advance(self) -> None:
        for progress in self._session.step():
            request = self._requests.get(progress.key)
            if request is None:
                continue
            request.num_written += progress.num_tokens
            self._watch.wrote(progress.num_tokens)
            answer = Answer(num_read=request.num_tokens, num_written=request.num_written)
            if progress.text:
                request.deliver(answer._replace(text=progress.text))
            if progress.prediction is not None:
                self._end(progress.key, answer._replace(prediction=progress.prediction, is_last=True))

    def _drop_overdue(self) -> None:
        now = time.monotonic()
        for key, request in list(self._requests.items()):
            if now > request.deadline:
                self._end(key, Answer(error=Overdue(request.seconds), is_last=True))

    def _fail_all(self, error: Exception) -> None:
        """Tell everybody who waits for the model; texts in line are not concerned. The log names no text."""
        log.error("the model failed", **named(error))
        told = error if isinstance(error, ClsgenError) else ModelFailed(error)
        for key in [key for key in self._requests if key not in self._waiting]:
            self._end(key, Answer(error=told, is_last=True))

    def _end(self, key: int, answer: Answer | None) -> None:
        """A request has ended, with a last answer or with nobody to give it to."""
        with self._changed:
            request = self._requests.pop(key, None)
            self._waiting.discard(key)
        self._session.cancel(key)
        if request is not None and answer is not None:
            request.deliver(answer)
