"""`clsgen verify` on a real model directory, each of whose files is altered, removed and added to."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from clsgen.model.checkpoint import save_bundle


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A run as `train` leaves it, as far as `verify` looks."""
    folder = tmp_path_factory.mktemp("saved")
    run = folder / "run"
    save_bundle(tiny.bundle_of(tiny.dual(tiny.save("llama", folder / "base"))), run / "model")
    (run / "data").mkdir()
    (run / "config.yaml").write_text("output: run\n")
    hashes = {}
    for role in ("train", "test"):
        (run / "data" / f"{role}.jsonl").write_text(f'{{"id": "{role}"}}\n')
        hashes[role] = hashlib.sha256(f'{{"id": "{role}"}}\n'.encode()).hexdigest()
    (run / "manifest.json").write_text(json.dumps({"data_hashes": hashes}))
    return run


@pytest.fixture
def run(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def test_what_was_saved_is_as_it_was_saved(command, run):
    for folder in (run, run / "model"):
        ran = command("verify", folder)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out == f"{folder}: every file is as it was saved.\n"


def test_every_file_that_is_altered_by_a_byte_is_named(command, run):
    files = sorted(path for path in (run / "model").rglob("*") if path.name != "manifest.json")
    assert len(files) > 8
    for file in files:
        before = file.read_bytes()
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        ran = command("verify", run / "model")
        assert ran.code == 1
        assert ran.out.splitlines()[0] == f"altered: {file.name}"
        assert len(ran.out.splitlines()) == 2
        file.write_bytes(before)
    assert command("verify", run / "model").code == 0


def test_missing_altered_and_extra_files_are_named_together(command, run):
    model = run / "model"
    (model / "clsgen.json").unlink()
    (model / "decision.json").write_text("{}")
    (model / "sub").mkdir()
    (model / "sub" / "notes.csv").write_text("text\n")
    (model / ".hidden").symlink_to(model / "nowhere")
    (model / ".gitattributes").write_text("*.safetensors filter=lfs\n")  # the hub's, not counted
    (model / ".gitattributes.csv").write_text("text\n")
    ran = command("verify", model)
    assert ran.code == 1
    assert ran.out.splitlines()[:-1] == [
        "missing: clsgen.json",
        "altered: decision.json",
        "extra: .gitattributes.csv",
        "extra: .hidden",
        "extra: sub/notes.csv",
    ]
    assert ran.out.splitlines()[-1].endswith("5 files differ from what was saved.")


def test_the_rows_of_a_run_are_compared_too(command, run):
    (run / "data" / "train.jsonl").write_text("another\n")
    (run / "data" / "test.jsonl").unlink()
    (run / "data" / "more").mkdir()
    (run / "data" / "more" / "notes.csv").write_text("note\n")
    (run / "data" / "groups.json").write_text("{}")  # made of the rows, and named by no hash
    (run / "predictions.jsonl").write_text("made later\n")
    ran = command("verify", run)
    assert ran.code == 1
    assert ran.out.splitlines()[:-1] == [
        "missing: data/test.jsonl",
        "altered: data/train.jsonl",
        "extra: data/more/notes.csv",
    ]


def test_a_run_of_several_questions_is_compared_in_all_its_parts(command, run):
    for name in ("fell", "died"):
        shutil.copytree(run / "model", run / "questions" / name / "model")
        shutil.copytree(run / "data", run / "questions" / name / "data")
        shutil.copy(run / "manifest.json", run / "questions" / name / "manifest.json")
    shutil.rmtree(run / "model")
    assert command("verify", run).code == 0
    (run / "questions" / "fell" / "model" / "README.md").unlink()
    ran = command("verify", run)
    assert (ran.code, ran.out.splitlines()[0]) == (1, "missing: questions/fell/model/README.md")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: shutil.rmtree(run), "must be a model or run directory"),
        (lambda run: (run / "model" / "manifest.json").unlink(), "the manifest must be readable"),
        (lambda run: (run / "model" / "manifest.json").write_text('{"../x": "y"}'), "must map relative paths"),
        (lambda run: (run / "manifest.json").write_text("{}"), "the run's record must be readable"),
    ],
)
def test_what_has_no_hashes_is_a_mistake_not_a_difference(command, run, break_it, message):
    break_it(run)
    ran = command("verify", run)
    assert ran.code == 2
    assert message in ran.err


def test_it_loads_no_torch(run):
    code = "import sys; from clsgen.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "verify", str(run)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False"), done.stderr
