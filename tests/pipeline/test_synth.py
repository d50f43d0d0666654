"""`clsgen synth` against real servers on loopback: strategies, failures, kills, restricted texts, budgets."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat_server import Answer, ChatServer, completion, error
from clsgen.config.load import load_config
from clsgen.config.run import RunConfig
from clsgen.errors import ArtifactError, ConfigError, RestrictedError
from clsgen.pipeline.explanations import with_explanations
from clsgen.pipeline.prepare import prepare
from clsgen.pipeline.rows import load_split
from clsgen.pipeline.synth import STORE, first_request, synthesise
from clsgen.tasks.synthetic import generate_notes

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from measure_synth import measure
from noise.teacher import Errors, NoisyTeacher

NUM_ROWS, PREVALENCE = 240, 0.2
NOTES = generate_notes(NUM_ROWS, length="short", prevalence=PREVALENCE, seed=0)
SMALL_MODEL = {
    "init": "scratch",
    "tuning": "full",
    "max_length_tokens": 320,
    "max_explanation_tokens": 80,
    "scratch": {"vocabulary": 500, "width": 32, "num_layers": 1, "num_heads": 2},
}


def noisy(rare: float = 0.4) -> NoisyTeacher:
    return NoisyTeacher(NOTES, Errors({"died": rare, "survived": 0.95}))


def values(folder: Path, endpoint: str | None, **teacher: Any) -> dict[str, Any]:
    return {
        "output": str(folder / "run"),
        "data": {"task": "synthetic-notes", "num_rows": NUM_ROWS, "prevalence": PREVALENCE},
        "model": SMALL_MODEL,
        "teacher": {"endpoint": endpoint, "model": "t", "num_samples": 1, "max_tokens": 256, **teacher},
    }


def config(folder: Path, endpoint: str | None, **teacher: Any) -> RunConfig:
    return RunConfig.model_validate(values(folder, endpoint, **teacher))


def explained(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "teacher" / "explanations.jsonl").read_text().splitlines()]


def labelled(settings: RunConfig) -> list[Any]:
    roles = load_split(settings.data).split.roles
    return [*roles["train"], *roles["validation"]]


def test_the_default_strategy_loses_no_row_of_the_rare_class(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        settings = config(tmp_path, server.endpoint, num_samples=2)
        found = synthesise(settings)
    rare, common = found.tallies["died"], found.tallies["survived"]
    assert rare.num_rows == rare.num_kept >= 20
    assert common.num_rows == common.num_kept
    assert abs(rare.lost_points) < 2
    # each blind sample is right 4 times in 10: of two, both fail in 36%
    assert 0.15 < rare.hinted_share < 0.6
    assert common.hinted_share < 0.05
    rows = {row.id: row for row in labelled(settings)}
    for record in explained(tmp_path):
        assert record["label"] == rows[record["id"]].label
        assert record["is_hinted"] == (record["kind"] == "hinted")
    assert {record["model"] for record in explained(tmp_path)} == {"noisy-teacher"}
    assert len(explained(tmp_path)) == len(rows)


def test_blind_alone_loses_most_of_the_rare_class_and_shows_it(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        found = synthesise(config(tmp_path, server.endpoint, strategy="blind"))
    rare = found.tallies["died"]
    assert rare.num_kept < 0.65 * rare.num_rows
    assert rare.lost_points > 2
    assert rare.dropped_rows["label_disagreement"] == rare.num_rows - rare.num_kept
    assert rare.hinted_share == 0
    assert teacher.num_answers["hinted"] == 0


def test_hinted_both_sides_and_human_ask_what_they_should(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        hinted = synthesise(config(tmp_path / "h", server.endpoint, strategy="hinted"))
        num_rows = hinted.tallies["all"].num_rows
        assert teacher.num_answers == {"blind": 0, "hinted": num_rows, "argue": 0}
        both = synthesise(config(tmp_path / "b", server.endpoint, strategy="both_sides"))
        assert teacher.num_answers["argue"] == 2 * num_rows
        human = synthesise(config(tmp_path / "p", server.endpoint, strategy="human", model=None))
        assert server.num_requests == 3 * num_rows
    assert hinted.tallies["all"].hinted_share == 1
    assert set(both.tallies["all"].dropped_rows) <= {"other_side", "duplicate"}
    assert human.tallies["all"].num_kept == num_rows
    assert human.num_sent == 0


def test_a_second_run_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        synthesise(config(tmp_path, server.endpoint), with_parquet=True)
        first, num_requests = explained(tmp_path), server.num_requests
        synthesise(config(tmp_path, server.endpoint))
        assert server.num_requests == num_requests
    assert explained(tmp_path) == first
    from pyarrow.parquet import read_table

    assert read_table(tmp_path / "run" / "teacher" / "explanations.parquet").to_pylist() == first


def test_a_server_that_fails_in_every_way_loses_no_row(tmp_path: Path) -> None:
    """429 with Retry-After, 500, a broken body, no JSON, a wrong schema, half an answer: each once in a while."""
    teacher = noisy(rare=1.0)
    seen: Counter[str] = Counter()

    def script(body: dict[str, Any], number: int) -> Answer:
        text = json.dumps(body["messages"])
        seen[text] += 1
        good = teacher.answer(body)
        bad = {
            0: Answer(error("slow down"), status=429, headers={"Retry-After": "0"}),
            1: Answer(error("oops"), status=500),
            2: Answer('{"choices": [{"mess', status=200),
            3: Answer(completion("I would rather not say.")),
            4: Answer(completion(json.dumps({"why": "so", "verdict": "died"}))),
            5: Answer(good, sent_share=0.5),
        }
        return bad.get(len(seen) % 8, Answer(good)) if seen[text] == 1 else Answer(good)

    with ChatServer(script) as server:
        few = values(tmp_path, server.endpoint, num_samples=2)
        few["data"]["num_rows"] = 60
        found = synthesise(RunConfig.model_validate(few))
    assert found.stopped is None
    assert found.tallies["all"].num_kept == found.tallies["all"].num_rows
    dropped = found.tallies["all"].dropped_answers
    assert dropped["conclusion_missing"] > 2
    assert dropped["failed"] > 1
    assert set(dropped) <= {"conclusion_missing", "failed", "label_disagreement", "duplicate"}


def test_the_first_answer_to_a_request_stands_though_the_server_would_say_another_now(tmp_path: Path) -> None:
    def script(body: dict[str, Any], number: int) -> Answer:
        reason = f"Answer {number} says in a few words why this is so."
        return Answer(completion(json.dumps({"reason": reason, "answer": "survived"})))

    with ChatServer(script) as server:
        synthesise(config(tmp_path, server.endpoint, strategy="blind"))
        first = explained(tmp_path)
        synthesise(config(tmp_path, server.endpoint, strategy="blind"))
        assert explained(tmp_path) == first
        synthesise(config(tmp_path, server.endpoint, strategy="blind", temperature=0.2))
    assert explained(tmp_path) != first


def test_a_slow_server_counts_as_failed_and_is_asked_again_by_the_next_run(tmp_path: Path) -> None:
    teacher = noisy(rare=1.0)
    is_slow = True

    def script(body: dict[str, Any], number: int) -> Answer:
        return Answer(teacher.answer(body), delay_seconds=1.0 if is_slow and number % 5 == 0 else 0.0)

    settings = {"strategy": "hinted", "num_attempts": 1, "timeout_seconds": 0.5, "concurrency": 32}
    with ChatServer(script) as server:
        first = synthesise(config(tmp_path, server.endpoint, **settings))
        num_failed = first.tallies["all"].dropped_answers["failed"]
        assert num_failed > 20
        is_slow = False
        second = synthesise(config(tmp_path, server.endpoint, **settings | {"timeout_seconds": 60.0}))
    assert second.num_sent == num_failed
    assert "failed" not in second.tallies["all"].dropped_answers


def test_a_budget_stops_cleanly_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        first = synthesise(config(tmp_path, server.endpoint, budget_tokens=20_000))
        assert "what is spent must stay within 20000 tokens" in str(first.stopped)
        assert 0 < first.tallies["all"].num_kept < first.tallies["all"].num_rows
        assert first.tallies["all"].tokens.total <= 20_000
        num_requests = server.num_requests
        again = synthesise(config(tmp_path, server.endpoint, budget_tokens=20_000))
        assert again.stopped is not None  # what an earlier run spent counts
        assert server.num_requests <= num_requests + 2
        whole = synthesise(config(tmp_path, server.endpoint, budget_tokens=10_000_000))
    assert whole.stopped is None
    assert whole.tallies["all"].num_kept == whole.tallies["all"].num_rows


def test_restricted_texts_are_sent_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    secret = values(tmp_path, "http://models.example.org:8000/v1")
    secret["data"]["restricted"] = True
    with pytest.raises(RestrictedError, match=r"got 'models\.example\.org'"):
        synthesise(RunConfig.model_validate(secret))
    assert not (tmp_path / "run" / "teacher").exists()


def test_restricted_answers_are_private(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        secret = values(tmp_path, server.endpoint, strategy="hinted")
        secret["data"]["restricted"] = True
        synthesise(RunConfig.model_validate(secret), with_parquet=True)
    folder = tmp_path / "run" / "teacher"
    texts = [folder / name for name in (STORE, "explanations.jsonl", "explanations.parquet", "report.json")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in texts} == {0o600}


def test_training_reads_the_explanations_and_notices_changed_rows(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        settings = config(tmp_path, server.endpoint, strategy="blind")
        with pytest.raises(ArtifactError, match="needs the explanations of `clsgen synth`"):
            with_explanations(settings, labelled(settings))
        synthesise(settings)
    records = {record["id"]: record["explanation"] for record in explained(tmp_path)}
    trained = values(tmp_path, None)
    trained["data"]["explanations"] = "teacher"
    prepared = prepare(RunConfig.model_validate(trained))
    train = prepared.split.roles["train"]
    assert {row.explanation for row in train if row.id not in records} == {None}
    assert all(row.explanation == records[row.id] for row in train if row.id in records)
    assert prepared.sources["teacher"] == len(records)
    assert prepared.sources["left without"] == len(labelled(settings)) - len(records)
    path = tmp_path / "run" / "teacher" / "explanations.jsonl"
    path.write_text(path.read_text().replace('"row_hash": "', '"row_hash": "0', 1))
    with pytest.raises(ArtifactError, match="its text or label has changed since"):
        with_explanations(settings, labelled(settings))


def test_rows_that_are_still_open_can_quote_their_document(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        found = synthesise(config(tmp_path, server.endpoint, strategy="blind", fallback="extractive"))
    assert found.tallies["died"].num_extractive > 5
    sources = Counter(record["source"] for record in explained(tmp_path))
    assert sources["extractive"] == found.tallies["all"].num_extractive


def test_what_can_not_be_asked_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.model must name the model"):
        synthesise(config(tmp_path, "http://127.0.0.1:1/v1", model=None))
    monkeypatch.delenv("SECRET_KEY", raising=False)
    with pytest.raises(ConfigError, match="SECRET_KEY must be set in the environment"):
        synthesise(config(tmp_path, "http://127.0.0.1:1/v1", api_key_env="SECRET_KEY"))
    with pytest.raises(ConfigError, match="human asks nobody"):
        first_request(config(tmp_path, None, strategy="human"))
    ask = first_request(config(tmp_path, None))
    assert labelled(config(tmp_path, None))[0].document in ask.request.messages[1][1]


def test_bounds_of_an_endpoint_are_refused_for_a_model_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.budget_tokens bounds what an endpoint is asked"):
        synthesise(config(tmp_path, None, model="embedded", budget_tokens=300))


def test_rows_that_are_the_same_are_asked_about_apart_and_rows_that_move_not_again(tmp_path: Path) -> None:
    rows = [f"text {number} of a patient who fell in the ward at night" for number in range(40)]
    table = tmp_path / "rows.csv"

    def run(texts: list[str]) -> tuple[int, int, list[str]]:
        lines = ["text,label", *(f"{text},{'yes' if text.endswith('not') else 'no'}" for text in texts)]
        table.write_text("\n".join(lines), encoding="utf-8")
        answers = json.dumps({"reason": "It is written so in the text of the patient.", "answer": "yes"})
        with ChatServer(lambda body, number: Answer(completion(answers))) as server:
            changed = values(tmp_path, server.endpoint) | {"data": {"train": str(table)}}
            found = synthesise(RunConfig.model_validate(changed))
            sent = [json.dumps([body["messages"], body["seed"]]) for body in server.bodies]
        return found.num_sent, found.tallies["all"].num_rows, sent

    halves = [*(f"{text} not" for text in rows[:20]), *rows[20:]]
    num_sent, num_rows, first = run([*halves, *halves])
    assert num_sent > num_rows  # blind, then hinted where that failed
    assert max(Counter(first).values()) == 2  # a row and its copy
    assert run([*halves, *halves])[0] == 0
    moved = run(["a new text of a patient who stood not", *halves, *halves])[2]  # every id moved by one
    assert max(Counter([*first, *moved]).values()) == 2


def test_a_run_that_keeps_nothing_leaves_an_earlier_ones_explanations(tmp_path: Path) -> None:
    teacher = noisy()
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as server:
        synthesise(config(tmp_path, server.endpoint))
    before = explained(tmp_path)
    found = synthesise(config(tmp_path, "http://127.0.0.1:9/v1", num_attempts=1, temperature=0.1))
    assert found.tallies["all"].num_kept == 0
    assert explained(tmp_path) == before


def test_an_endpoint_that_is_not_there_ends_soon_and_says_so(tmp_path: Path) -> None:
    settings = config(tmp_path, "http://127.0.0.1:9/v1", num_attempts=1)
    found = synthesise(settings)
    assert "no connection" in str(found.stopped)
    assert found.num_sent < 60
    assert found.tallies["all"].num_kept == 0


@pytest.mark.slow
def test_kill_9_loses_nothing_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    teacher = noisy()

    def script(body: dict[str, Any], number: int) -> Answer:
        return Answer(teacher.answer(body), delay_seconds=0.05)

    with ChatServer(script) as server:
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(values(tmp_path, server.endpoint, concurrency=4)))
        command = [sys.executable, "-m", "clsgen", "synth", str(file)]
        answered: set[tuple[str, int]] = set()
        for wanted in (30, 90, 150):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            until = time.monotonic() + 60
            while server.num_requests < wanted and time.monotonic() < until:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            database = sqlite3.connect(tmp_path / "run" / "teacher" / STORE)
            kept = {(row[0], row[1]) for row in database.execute("SELECT key, sample FROM answers")}
            database.close()
            assert answered <= kept
            assert len(kept) >= wanted - 4 * 3  # those under way at each kill were never answered
            answered = kept
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        rows = len(labelled(load_config(file)))
        asked = Counter(json.dumps([body["messages"], body["seed"]]) for body in server.bodies)
    # a request that was under way at a kill is asked again; no answered one is
    assert sum(count - 1 for count in asked.values()) <= 3 * 4
    assert len(explained(tmp_path)) == rows


@pytest.mark.slow
@pytest.mark.timed
def test_thousands_of_rows_take_what_the_server_takes_and_no_more_memory(tmp_path: Path) -> None:
    found = measure(tmp_path, num_rows=3_000, in_flight=64, latency_seconds=1.5)  # a fast language model
    assert found.num_requests >= 2_970
    assert found.ratio > 0.9
    assert found.grown_bytes < 9 * 2**20, "3 KiB a row"
