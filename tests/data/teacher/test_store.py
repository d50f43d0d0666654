"""The store and the asking: every answer is kept when it arrives, and nothing is asked twice."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from clsgen.data.teacher.asking import MOST_FAILURES_IN_A_ROW, ask_all
from clsgen.data.teacher.asks import Ask
from clsgen.data.teacher.store import Store, open_store
from clsgen.errors import ArtifactError, BudgetError, TeacherError
from clsgen.llm.chat import ChatReply, ChatRequest
from clsgen.llm.limits import Tokens

REPLY = ChatReply("Yes — naïve.", "hm", "stop", 10, 5, "served")


def asks(count: int) -> list[Ask]:
    return [Ask(f"k{n}", f"r{n}", "blind", None, 0, ChatRequest((("user", f"{n}"),))) for n in range(count)]


class Scripted:
    """Answers in this process; raises where the script has an error for a request."""

    def __init__(self, errors: dict[str, TeacherError] | None = None) -> None:
        self.model = "m"
        self.errors = errors or {}
        self.asked: list[str] = []
        self.under_way = self.most_under_way = 0

    async def ask(self, request: ChatRequest) -> ChatReply:
        text = request.messages[0][1]
        self.asked.append(text)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if text in self.errors:
            raise self.errors[text]
        return REPLY


def test_an_answer_is_read_back_whole_by_another_process(tmp_path: Path) -> None:
    with open_store(tmp_path / "t" / "s.sqlite", is_private=False) as store:
        store.put(asks(1)[0], REPLY)
        with open_store(tmp_path / "t" / "s.sqlite", is_private=False) as other:  # while the first is open
            (found,) = other.of(["nothing", "k0"])
    assert (found.content, found.finish_reason, found.model) == ("Yes — naïve.", "stop", "served")
    assert (found.prompt_tokens, found.completion_tokens, found.failure) == (10, 5, None)


def test_a_failure_is_kept_counted_and_asked_again(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        (ask,) = asks(1)
        store.put_failure(ask, "timeout")
        assert not store.has("k0")
        assert [each.failure for each in store.of(["k0"])] == ["timeout"]
        store.put(ask, REPLY)
        assert store.has("k0")
        assert [each.failure for each in store.of(["k0"])] == [None]
        assert store.spent() == Tokens(10, 5)


def test_a_failure_never_takes_the_place_of_an_answer(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        (ask,) = asks(1)
        store.put(ask, REPLY)
        store.put_failure(ask, "timeout")  # another run that asked the same
        assert [each.failure for each in store.of(["k0"])] == [None]


def test_what_failed_attempts_may_have_cost_is_spent(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        first, second = asks(2)
        store.put_failure(first, "malformed", tokens_charged=300)
        store.put_failure(first, "malformed", tokens_charged=300)
        store.put(second, replace(REPLY, tokens_wasted=40))
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        assert store.wasted() == 640
        assert store.spent() == Tokens(10 + 640, 5)


def test_a_private_store_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with open_store(tmp_path / "t" / "s.sqlite", is_private=True) as store:
        store.put(asks(1)[0], REPLY)
        files = list((tmp_path / "t").iterdir())
        assert len(files) > 1  # SQLite's own beside it
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o700


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_text("not a database, but long enough to look like a file of one" * 20)
    with pytest.raises(ArtifactError, match="the store must be an SQLite file"):
        Store(tmp_path / "s.sqlite")
    later = sqlite3.connect(tmp_path / "later.sqlite")
    later.execute("PRAGMA user_version=99")
    later.close()
    with pytest.raises(ArtifactError, match="must be of version 1; got 99"):
        Store(tmp_path / "later.sqlite")


def test_a_store_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    store._database.execute("PRAGMA query_only=1")
    with pytest.raises(ArtifactError, match="the answer must be kept"):
        store.put(asks(1)[0], REPLY)
    store.close()


def test_nothing_is_asked_twice_and_no_more_at_a_time_than_allowed(tmp_path: Path) -> None:
    chat, seen = Scripted(), []
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        store.put(asks(1)[0], REPLY)
        progress = asyncio.run(
            ask_all(chat, asks(50), store, concurrency=7, on_progress=lambda each: seen.append(each.num_done))
        )
        assert (progress.num_done, progress.num_found, progress.num_failed) == (50, 1, 0)
        assert progress.tokens == Tokens(49 * 10, 49 * 5)
        assert seen == list(range(1, 51))
        assert sorted(map(int, chat.asked)) == list(range(1, 50))
        assert chat.most_under_way == 7
        asyncio.run(ask_all(chat, asks(50), store, concurrency=7))
    assert len(chat.asked) == 49


def test_some_failures_are_counted_and_the_others_go_on(tmp_path: Path) -> None:
    chat = Scripted({"3": TeacherError("no", reason="http_400"), "4": TeacherError("no", reason="timeout")})
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        progress = asyncio.run(ask_all(chat, asks(60), store, concurrency=4))
        assert (progress.num_done, progress.num_failed) == (60, 2)
        assert [each.failure for each in store.of(["k3", "k4", "k5"])] == ["http_400", "timeout", None]


def test_an_endpoint_that_is_gone_ends_the_run_early(tmp_path: Path) -> None:
    gone = TeacherError("no connection", reason="connection")
    chat = Scripted({str(n): gone for n in range(10, 500)})
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        with pytest.raises(TeacherError, match="no connection"):
            asyncio.run(ask_all(chat, asks(500), store, concurrency=4))
        assert len(chat.asked) <= 10 + MOST_FAILURES_IN_A_ROW + 4
        assert all(store.has(f"k{n}") for n in range(10))


def test_a_spent_budget_lets_what_is_under_way_end(tmp_path: Path) -> None:
    chat = Scripted({"20": BudgetError("spent")})
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        with pytest.raises(BudgetError, match="spent"):
            asyncio.run(ask_all(chat, asks(500), store, concurrency=4))
        assert len(chat.asked) < 30
        assert {f"k{text}" for text in chat.asked if text != "20"} == {
            f"k{n}" for n in range(500) if store.has(f"k{n}")
        }


def test_another_error_is_raised_as_it_is(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.sqlite", is_private=False) as store:
        store._database.execute("PRAGMA query_only=1")
        with pytest.raises(ArtifactError, match="the answer must be kept"):
            asyncio.run(ask_all(Scripted(), asks(5), store, concurrency=2))
