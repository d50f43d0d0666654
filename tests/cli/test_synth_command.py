"""clsgen synth: what it prints, where it stops, and that restricted texts are not shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat_server import Answer, ChatServer, completion, error
from clsgen.tasks.synthetic import generate_notes

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from noise.teacher import Errors, NoisyTeacher

NOTES = generate_notes(60, length="short", prevalence=0.3, seed=0)


@pytest.fixture
def run_file(tmp_path: Path) -> Callable[..., Path]:
    def write(endpoint: str, data: dict[str, Any] | None = None, **teacher: Any) -> Path:
        values = {
            "output": str(tmp_path / "run"),
            "data": {"task": "synthetic-notes", "num_rows": 60, **(data or {})},
            "model": {"backbone": "embedded"},
            "teacher": {"endpoint": endpoint, "model": "t", "num_samples": 1, "max_tokens": 256, **teacher},
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
        return tmp_path / "run.yaml"

    return write


@pytest.fixture
def server():
    teacher = NoisyTeacher(NOTES, Errors({"died": 0.4, "survived": 0.9}))
    with ChatServer(lambda body, number: Answer(teacher.answer(body))) as found:
        yield found


def test_it_ends_with_tables_by_class_and_the_next_command(command, run_file, server) -> None:
    ran = command("synth", run_file(server.endpoint, input_price=1.0, output_price=2.0), "--parquet")
    assert ran.code == 0, ran.err
    for words in ("rows by class", "survived", "died", "all", "hinted", "label_disagreement", "clsgen train"):
        assert words in ran.out
    assert "100.0%" in ran.out  # the share of all classes together


def test_a_stopped_run_exits_1_and_says_how_to_go_on(command, run_file, server) -> None:
    ran = command("synth", run_file(server.endpoint), "teacher.budget_tokens=9000")
    assert ran.code == 1
    assert "Stopped early: budget: what is spent must stay within 9000 tokens" in ran.out
    assert "The same command goes on from here." in ran.out
    assert command("synth", run_file(server.endpoint)).code == 0


@pytest.mark.parametrize("is_restricted", [False, True])
def test_where_nothing_is_kept_an_answer_is_shown_unless_texts_are_restricted(
    command, run_file, is_restricted: bool
) -> None:
    with ChatServer(lambda body, number: Answer(completion("I would rather not say."))) as server:
        ran = command("synth", run_file(server.endpoint, data={"restricted": is_restricted}))
    assert ran.code == 1
    assert "No explanation was kept" in ran.out
    assert ("I would rather not say." in ran.out) == (not is_restricted)
    assert "clsgen train" not in ran.out


def test_failures_are_told_with_their_cause_in_plain_text(command, run_file) -> None:
    def script(body: dict[str, Any], number: int) -> Answer:
        if number % 3 == 0:
            return Answer(error("[/red] no room \x1b[31m"), status=400)
        return Answer(completion('{"reason": "It is so by all that is written there, in short.", "answer": "died"}'))

    with ChatServer(script) as server:
        ran = command("synth", run_file(server.endpoint, strategy="hinted", num_attempts=1))
    assert "requests failed" in ran.out
    assert "HTTP 400: [/red] no room ?[31m" in " ".join(ran.out.split())
    assert "The same command asks them again." in ran.out


def test_a_label_with_markup_or_called_all_is_shown_as_it_is() -> None:
    from clsgen.cli.console import console
    from clsgen.cli.synth import reasons_table, rows_table
    from clsgen.data.teacher.outcomes import Outcome
    from clsgen.data.teacher.tally import tally
    from clsgen.types import Example

    rows = [Outcome(Example(str(n), "text", label=label)) for n, label in enumerate(["no [/b]", "all", "all"])]
    found = tally(rows, ("no [/b]", "all"), None)
    assert {name: each.num_rows for name, each in found.items()} == {"no [/b]": 1, "all": 2, "all classes": 3}
    with console.capture() as capture:
        console.print(rows_table(found), reasons_table(found))
    assert "no [/b]" in capture.get()


def test_columns_with_nothing_to_tell_are_left_out(command, run_file, server) -> None:
    ran = command("synth", run_file(server.endpoint))
    header = next(line for line in ran.out.splitlines() if "class" in line and "asked" in line)
    assert "cost" not in header
    assert "extractive" not in header


def test_dry_run_shows_a_request_and_sends_nothing(command, run_file, server) -> None:
    ran = command("synth", run_file(server.endpoint), "--dry-run")
    assert ran.code == 0
    assert "one of: survived, died" in " ".join(ran.out.replace("│", " ").split())
    assert server.num_requests == 0


def test_a_restricted_request_is_shown_only_where_asked_for(command, run_file, server) -> None:
    file = run_file(server.endpoint, data={"restricted": True})
    ran = command("synth", file, "--dry-run")
    assert (ran.code, ran.out) == (2, "")
    assert "Add --show-text" in ran.err
    assert "Question" in command("synth", file, "--dry-run", "--show-text").out


def test_allow_host_lets_a_named_host_pass(command, run_file) -> None:
    file = run_file("http://models.invalid:1/v1", data={"restricted": True}, num_attempts=1)
    refused = command("synth", file)
    assert refused.code == 2
    assert "got 'models.invalid'" in refused.err
    ran = command("synth", file, "--allow-host", "models.invalid")
    assert ran.code == 1
    assert "no connection" in ran.out


def test_write_prompts(command, run_file, server, tmp_path: Path) -> None:
    file = run_file(server.endpoint)
    ran = command("synth", file, "--write-prompts", tmp_path / "mine")
    assert ran.code == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["argue.txt", "blind.txt", "hinted.txt"]
    assert command("synth", file, f"teacher.prompts={tmp_path / 'mine'}").code == 0
    assert server.num_requests > 0
