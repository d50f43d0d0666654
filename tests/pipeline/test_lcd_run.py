"""The path of restricted notes from files to figures, on generated notes: no sentence leaves the owner's files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

import pytest

from clsgen.tasks.synthetic import generate_notes, write_lcd

CONFIG = """\
output: {folder}/run
data: {{task: lcd, root: {folder}/lcd, explanations: extractive}}
model:
  init: scratch
  tuning: full
  max_length_tokens: 256
  max_explanation_tokens: 96
  scratch: {{vocabulary: 600, width: 32, num_layers: 1, num_heads: 2}}
train: {{max_steps: 4, eval_steps: 2, batch_size: 4, precision: float32, num_monitor_explanations: 2, log_steps: 1}}
evaluate: {{num_bootstrap: 100}}
"""
WINDOW_WORDS = 6
"""So many words in a row are a piece of a note; the instruction and our own messages share none with any."""


class Notes(NamedTuple):
    """A folder with the notes in LCD's files and a configuration beside it, and the texts themselves."""

    folder: Path
    texts: list[str]

    @property
    def config(self) -> Path:
        return self.folder / "run.yaml"

    def pieces_in(self, text: str) -> list[str]:
        """Runs of words of any note that stand in `text`."""
        shown = " ".join(text.split())
        return [piece for note in self.texts for piece in pieces(note) if piece in shown]


def pieces(note: str) -> list[str]:
    words = note.split()
    return [
        " ".join(words[start : start + WINDOW_WORDS])
        for start in range(0, len(words) - WINDOW_WORDS, WINDOW_WORDS)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    folder = tmp_path_factory.mktemp("lcd")
    paths = write_lcd(folder / "lcd", generate_notes(140, length="short", prevalence=0.4, seed=3))
    (folder / "run.yaml").write_text(CONFIG.format(folder=folder))
    rows = [row for path in paths if path.stem != "metadata" for row in json.loads(path.read_text())["data"]]
    assert len(rows) == 140
    return Notes(folder, [row["text"] for row in rows])


def test_the_notes_are_found_where_they_are_shown(notes: Notes) -> None:
    assert notes.pieces_in(f"printed: {notes.texts[5]}")
    assert not notes.pieces_in("Decide from this discharge note whether the patient died within 30 days of discharge.")


def test_a_restricted_run_shows_no_text_from_training_to_evaluation(notes, command, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for arguments in (
        ("train", notes.config),
        ("eval", notes.folder / "run"),
        ("calibrate", notes.folder / "run", "--threshold", "half"),
        ("data", "check", notes.config),
    ):
        ran = command(*arguments)
        assert ran.code in ((0, 1) if arguments[0] == "data" else (0,)), ran.err  # 1: a word that tells the label
        said += [ran.out, ran.err]
    logged = [record.getMessage() for record in caplog.records]
    assert "auroc" in said[2]
    assert not notes.pieces_in("\n".join(said + logged))
    _check_files(notes)


def _check_files(notes: Notes) -> None:
    run = notes.folder / "run"
    files = [path for path in run.rglob("*") if path.is_file()]
    holding = {path.relative_to(run).as_posix() for path in files if notes.pieces_in(path.read_text(errors="ignore"))}
    assert {f"data/{role}.jsonl" for role in ("train", "validation", "calibration", "test")} <= holding
    assert holding <= {f"data/{role}.jsonl" for role in ("train", "validation", "calibration", "test")} | {
        "predictions.jsonl"
    }
    private = [*(run / name for name in holding), run / "predictions.jsonl"]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert json.loads((run / "manifest.json").read_text())["restricted"] is True
    assert json.loads((run / "model" / "clsgen.json").read_text())["spec"]["is_restricted"] is True
    assert json.loads((run / "metrics.json").read_text())["num_rows"] > 0


def test_a_dry_run_hides_rows_unless_they_are_asked_for(notes, command, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    hidden = command("train", notes.config, f"output={notes.folder / 'dry'}", "--dry-run")
    assert hidden.code == 0, hidden.err
    assert "rendered rows are left out (--show-text shows them)" in hidden.out
    assert not notes.pieces_in(hidden.out + hidden.err + "\n".join(record.getMessage() for record in caplog.records))
    shown = command("train", notes.config, f"output={notes.folder / 'dry'}", "--dry-run", "--show-text")
    assert shown.code == 0, shown.err
    assert notes.pieces_in(shown.out)
    assert not (notes.folder / "dry").exists()


def test_a_broken_note_file_is_named_without_its_text(notes, command, tmp_path) -> None:
    for path in (notes.folder / "lcd").glob("*.json"):
        text = path.read_text()
        (tmp_path / path.name).write_text(text[: len(text) // 2] if path.stem == "train" else text)
    ran = command("train", notes.config, f"data.root={tmp_path}", f"output={tmp_path / 'run'}")
    assert ran.code == 2
    assert "train.json: file must be JSON in UTF-8" in " ".join(ran.err.split())
    assert not notes.pieces_in(ran.out + ran.err)
