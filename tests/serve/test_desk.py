"""Who is served when: probabilities before reasons, and clients in turn."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tiny
from clsgen.errors import DataError
from clsgen.inference.predictor import Classifier
from clsgen.serve.desk import Answer, Desk, Request
from clsgen.serve.errors import Closing, ModelFailed, QueueFull
from clsgen.types import Example

TEXTS = [row.document for row in tiny.examples(10)]


class Quiet:
    """Watches nothing."""

    def read(self, num_texts: int, num_tokens: int) -> None:
        pass

    def wrote(self, num_tokens: int) -> None:
        pass


class Listener:
    """Keeps what requests are given, in the order it came."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Answer]] = []
        self._num_open = 0
        self._done = threading.Condition()

    def request(self, name: str, client: str, *, explains: bool) -> Request:
        self._num_open += 1
        return Request(client, Example(name, TEXTS[len(name) % 10]), lambda answer: self._hear(name, answer), explains)

    def _hear(self, name: str, answer: Answer) -> None:
        with self._done:
            self.heard.append((name, answer))
            self._num_open -= answer.is_last
            self._done.notify()

    def wait(self) -> None:
        with self._done:
            assert self._done.wait_for(lambda: not self._num_open, timeout=60)

    def order(self, kind: Any) -> list[str]:
        return [name for name, answer in self.heard if kind(answer)]


@pytest.fixture
def desk(classifier: Classifier) -> Any:
    made = Desk(classifier, batch_tokens=100, max_queued=100, max_tokens=1000, watch=Quiet())
    yield made
    assert made.close(30)


def test_a_probability_does_not_wait_for_reasons(desk: Desk) -> None:
    listener = Listener()
    desk.submit([listener.request(f"reason {number}", "a", explains=True) for number in range(12)])
    desk.submit([listener.request("probability", "b", explains=False)])
    listener.wait()
    ended = listener.order(lambda answer: answer.is_last)
    assert ended.index("probability") < 6


def test_clients_take_turns(desk: Desk) -> None:
    listener = Listener()
    many = [listener.request(f"many {number:02}", "many", explains=False) for number in range(30)]
    few = [listener.request(f"few {number}", "few", explains=False) for number in range(3)]
    desk.submit(many)
    desk.submit(few)
    listener.wait()
    ended = listener.order(lambda answer: answer.is_last)
    assert max(ended.index(f"few {number}") for number in range(3)) < 15
    assert [name for name in ended if name.startswith("many")] == [f"many {number:02}" for number in range(30)]


def test_all_or_none_are_taken(classifier: Classifier) -> None:
    desk = Desk(classifier, batch_tokens=100, max_queued=3, max_tokens=1000, watch=Quiet())
    listener = Listener()
    with pytest.raises(QueueFull, match="at most 3 texts"):
        desk.submit([listener.request(str(number), "a", explains=False) for number in range(4)])
    assert desk.num_open == 0
    assert desk.close(10)
    with pytest.raises(Closing):
        desk.submit([listener.request("late", "a", explains=False)])


def test_what_fails_is_told_and_the_next_one_is_served(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    session = desk._session
    real, failures = session.read, iter([RuntimeError("out of memory")])

    def broken(asked: Any) -> Any:
        for failure in failures:
            raise failure
        return real(asked)

    monkeypatch.setattr(session, "read", broken)
    listener = Listener()
    desk.submit([listener.request("first", "a", explains=False)])
    listener.wait()
    ((_, answer),) = listener.heard
    assert answer.is_last
    assert isinstance(answer.error, ModelFailed)
    assert "RuntimeError" in str(answer.error)
    desk.submit([listener.request("second", "a", explains=True)])
    listener.wait()
    assert listener.heard[-1][1].prediction is not None


def test_a_full_line_keeps_nobody_out_who_has_less_than_a_share(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    session = desk._session
    real = session.read
    monkeypatch.setattr(session, "read", lambda asked: (is_over.wait(30), real(asked))[1])  # nothing is read meanwhile
    listener = Listener()
    desk.submit([listener.request("first", "greedy", explains=False)])
    while desk.num_queued:
        is_over.wait(0.01)

    def ask(number: int, client: str) -> None:
        names = [f"{client} {each}" for each in range(number)]
        requests = [Request(client, Example(name, TEXTS[0]), lambda answer: None) for name in names]
        desk.submit(requests)

    ask(100, "greedy")
    with pytest.raises(QueueFull):
        ask(1, "greedy")
    ask(50, "late")  # a half
    with pytest.raises(QueueFull):
        ask(1, "late")
    ask(33, "third")
    with pytest.raises(QueueFull):
        ask(1, "third")
    is_over.set()
    listener.wait()


def test_reasons_of_another_client_are_begun_before_those_of_one_who_asked_for_many(desk: Desk) -> None:
    listener = Listener()
    desk.submit([listener.request(f"many {number:03}", "many", explains=True) for number in range(90)])
    desk.submit([listener.request("one", "other", explains=True)])
    listener.wait()
    read = listener.order(lambda answer: answer.prediction is not None and not answer.is_last)
    assert read.index("one") < 50


def test_a_text_that_is_too_long_is_refused_and_nothing_is_taken(classifier: Classifier) -> None:
    desk = Desk(classifier, batch_tokens=100, max_queued=10, max_tokens=200, watch=Quiet())
    fits, long = (
        Request("a", Example(name, "wet " * size), lambda answer: None) for name, size in (("f", 5), ("l", 300))
    )
    with pytest.raises(DataError, match="at most 200 tokens"):
        desk.submit([fits, long])
    assert desk.num_open == 0
    assert desk.close(10)


def test_those_who_are_given_up_are_told(classifier: Classifier) -> None:
    desk = Desk(classifier, batch_tokens=100, max_queued=100, max_tokens=1000, watch=Quiet())
    listener = Listener()
    desk.submit([listener.request(f"reason {number:02}", "a", explains=True) for number in range(90)])
    desk.give_up()
    listener.wait()
    assert any(isinstance(answer.error, Closing) for _, answer in listener.heard)
    assert desk.close(10)
