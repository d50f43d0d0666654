"""What `--engine ray` refuses before any Ray is started, and that nothing was touched then."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from clsgen.model.checkpoint import save_bundle

pytest.importorskip("ray", reason="needs the extra: pip install 'clsgen[ray]'")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    bundle = tiny.bundle_of(tiny.dual(tiny.save("llama", folder / "base")), has_explanations=False)
    save_bundle(bundle, folder / "model")
    save_bundle(replace(bundle, spec=replace(bundle.spec, is_restricted=True)), folder / "restricted")
    rows = tiny.examples(6)
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": row.document, "id": row.id}) + "\n" for row in rows))
    return folder


@pytest.fixture
def ask(place: Path, tmp_path: Path, command: Callable[..., Any]) -> Callable[..., str]:
    """The message of a refused command."""

    def refused(*options: object, model: str = "model", source: str = "in.jsonl", output: str = "out.jsonl") -> str:
        done = command(
            "predict", place / source, "-m", place / model, "-o", tmp_path / output, "--engine", "ray", *options
        )
        assert done.code == 2, done
        return " ".join(done.err.split())

    return refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--explain", "all"), "explain must be none for a model whose language head was not trained to explain"),
        (("--prior", "0.5,0.6"), "prior must be 2 positive shares that sum to 1; got [0.5, 0.6]"),
        (("--text", "body"), "data.columns.text must be a column of the data; got 'body'"),
    ],
)
def test_options_that_do_not_suit_touch_no_file(
    ask: Callable[..., str], tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    assert message in ask(*options)
    assert not list(tmp_path.iterdir())


def test_inputs_and_outputs_of_other_kinds_touch_no_file(ask: Callable[..., str], tmp_path: Path) -> None:
    assert "--output must end in .jsonl or .parquet" in ask(output="out.csv")
    assert "data must be .parquet or .jsonl or .ndjson" in ask(source="in.csv")
    assert "must be a clsgen model directory" in ask(model="base")
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_started_touches_no_file(
    ask: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--workers must be 1 or more; got 0" in ask("--workers", "0")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "Ray must be installed for --engine ray. Run: pip install 'clsgen[ray]'" in ask()
    assert not list(tmp_path.iterdir())


def test_a_partial_result_of_another_run_is_not_gone_on_with(ask: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.partial").mkdir()
    (tmp_path / "out.jsonl.partial" / "seal.json").write_text('{"rows": "others"}')
    assert "a partial result of another input, model or setting is in the way" in ask()
    (tmp_path / "new.jsonl.partial").write_text("{}\n")
    assert "a partial result of another engine is in the way" in ask(output="new.jsonl")


def test_a_partial_folder_is_not_gone_on_with_in_one_process(
    place: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    (tmp_path / "out.jsonl.partial").mkdir()
    done = command("predict", place / "in.jsonl", "-m", place / "model", "-o", tmp_path / "out.jsonl")
    assert done.code == 2
    assert "a partial result of another engine is in the way" in " ".join(done.err.split())


def test_two_runs_do_not_write_one_output(ask: Callable[..., str], tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "out.jsonl.partial").mkdir()
    with (tmp_path / "out.jsonl.partial" / "lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another process is writing these predictions" in ask()


def test_a_restricted_model_joins_no_cluster(ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "example:6379")
    assert "a restricted model stays on this machine. Unset RAY_ADDRESS" in ask(model="restricted")


def test_options_of_ray_are_refused_in_one_process(place: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    given = ("predict", place / "in.jsonl", "-m", place / "model", "-o")
    done = command(*given, tmp_path / "a.jsonl", "--workers", "2")
    assert (done.code, "--workers goes with --engine ray" in done.err) == (2, True)
    done = command(*given, tmp_path / "a.parquet", "--engine", "local")
    assert (done.code, "--engine ray writes parquet" in done.err) == (2, True)
    assert not list(tmp_path.iterdir())
    assert command(*given, tmp_path / "a.jsonl", "--engine", "local").code == 0
