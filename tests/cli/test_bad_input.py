"""A user's mistakes, through the real command line: exit 2, one message, no traceback, nothing half-written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

CONFIG = """\
output: {folder}/run
data:
  train: {folder}/{table}
  columns: {{text: [note], label: outcome, explanation: why, group: [patient], id: key}}
model:
  init: scratch
  tuning: full
  max_length_tokens: 128
  max_explanation_tokens: 40
  scratch: {{vocabulary: 400, width: 32, num_layers: 1, num_heads: 2}}
train:
  max_steps: 2
  eval_steps: 2
  batch_size: 4
  precision: float32
  num_monitor_explanations: 0
  head_learning_rate: 0.1
"""


def rows(num_rows: int = 60) -> list[dict[str, str]]:
    """Rows of a table: two labels, an explanation each."""
    made = []
    for index in range(num_rows):
        label, word = (("no", "calm"), ("yes", "restless"))[index % 2]
        made.append(
            {
                "key": f"k{index}",
                "note": f"patient {index} was {word} today",
                "outcome": label,
                "why": f"the note says {word}",
                "patient": f"p{index}",
            }
        )
    return made


def write(folder: Path, table: list[dict[str, str]] | str, *, name: str = "rows.jsonl") -> Path:
    """The table, and beside it a run's configuration that reads it; the path of the configuration."""
    text = table if isinstance(table, str) else "".join(json.dumps(row) + "\n" for row in table)
    if name.endswith(".gz"):
        (folder / name).write_bytes(gzip.compress(text.encode()))
    else:
        (folder / name).write_text(text)
    path = folder / "run.yaml"
    path.write_text(CONFIG.format(folder=folder, table=name))
    return path


@pytest.fixture
def refused(command, tmp_path):
    """Run a command that must be refused; its one message, on one line."""

    def run(*arguments: object) -> str:
        before = sorted(path for path in tmp_path.rglob("*"))
        ran = command(*arguments)
        assert ran.code == 2, ran
        assert "Traceback" not in ran.err
        assert ran.err.count("clsgen: error: ") == 1
        assert ran.err.startswith("clsgen: error: ")
        assert ran.out == ""
        assert sorted(path for path in tmp_path.rglob("*")) == before, "something was half-written"
        return " ".join(ran.err.split())

    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """A small trained run."""
    from clsgen.config.load import load_config
    from clsgen.pipeline.train import train_run

    return train_run(load_config(write(tmp_path_factory.mktemp("trained"), rows())))


# ---- tables ----


def test_a_missing_column_is_named_with_the_nearest_and_those_there(refused, tmp_path):
    message = refused("train", write(tmp_path, rows()), "data.columns.label=outcom")
    assert "data.columns.label must be a column of the data; got 'outcom'. Did you mean 'outcome'?" in message
    assert "Columns there: key, note, outcome, why, patient." in message


def test_a_corrected_command_runs_after_a_refused_one(command, refused, tmp_path):
    config = write(tmp_path, rows())
    refused("train", config, "data.columns.label=outcom")
    assert command("train", config).code == 0
    assert (tmp_path / "run" / "model" / "clsgen.json").is_file()


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_an_unknown_label_is_shown_with_its_line(refused, tmp_path, arguments):
    table = rows()
    table[6]["outcome"] = "perhaps"
    message = refused("train", write(tmp_path, table), "data.labels=[no, yes]", *arguments)
    assert "label must be one of 'no', 'yes'; got, in 1 row, 'perhaps'" in message
    assert "rows.jsonl:7" in message


def test_an_empty_text_is_left_out_counted_and_shown(command, tmp_path):
    table = rows()
    table[3]["note"] = "  "
    table[4]["note"] = ""
    config = write(tmp_path, table)
    shown = command("train", config, "--dry-run")
    assert shown.code == 0, shown.err
    assert "Left out: 2 empty_text." in shown.out
    trained = command("train", config)
    assert "left out: 2 empty_text" in " ".join(trained.out.split())
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["dropped"] == {"empty_text": 2}


def test_rows_without_explanation_train_the_class_head_and_are_counted(command, tmp_path):
    table = rows()
    for row in table[::3]:
        row["why"] = ""
    ran = command("train", write(tmp_path, table))
    assert ran.code == 0, ran.err
    num_train, num_explained = 0, 0
    for line in (tmp_path / "run" / "data" / "train.jsonl").read_text().splitlines():
        num_train += 1
        num_explained += json.loads(line)["explanation"] is not None
    assert 0 < num_explained < num_train
    assert f"{num_train} train rows ({num_explained} with an explanation" in " ".join(ran.out.split())


def test_a_duplicate_id_names_both_lines(refused, tmp_path):
    table = rows()
    table[8]["key"] = "k2"
    message = refused("train", write(tmp_path, table))
    assert "id must be unique; got, in 1 row, 'k2'" in message
    assert f"rows.jsonl:9, first in {tmp_path / 'rows.jsonl'}:3" in message


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_broken_line_names_file_and_line(refused, tmp_path, name):
    text = "".join(json.dumps(row) + "\n" for row in rows(4)) + '{"key": "k4", "note": \n'
    message = refused("train", write(tmp_path, text, name=name))
    assert f"{tmp_path / name}:5: line must be one JSON object" in message


def test_a_table_with_one_class_only(refused, tmp_path):
    table = [row | {"outcome": "no"} for row in rows()]
    message = refused("train", write(tmp_path, table))
    assert "labels must be two or more, distinct and not blank; got ('no',)" in message


def test_a_class_too_rare_for_every_role(refused, tmp_path):
    table = [row | {"outcome": "yes" if index < 2 else "no"} for index, row in enumerate(rows())]
    message = refused("train", write(tmp_path, table))
    assert "split: label 'yes' must be in" in message


def test_a_table_that_is_not_there(refused, tmp_path):
    message = refused("train", write(tmp_path, rows()), f"data.train={tmp_path}/none.csv")
    assert "none.csv: data must be an existing file or directory; got neither" in message


def test_an_empty_table(refused, tmp_path):
    assert "data must hold one row or more; got none" in refused("train", write(tmp_path, ""))


# ---- configuration ----


def test_an_unknown_key_is_answered_with_the_nearest(refused, tmp_path):
    message = refused("train", write(tmp_path, rows()), "train.lerning_rate=1e-4")
    assert "train.lerning_rate must be a known setting" in message
    assert "Did you mean train.learning_rate?" in message


@pytest.mark.parametrize("name", ["train", "data check"])
def test_a_missing_configuration(refused, tmp_path, name):
    message = refused(*name.split(), tmp_path / "none.yaml")
    assert "none.yaml: the configuration must be a readable file; No such file or directory" in message


def test_an_unknown_task_is_answered_with_the_nearest(refused, tmp_path):
    (tmp_path / "run.yaml").write_text("data: {task: synthetic-note}\nmodel: {init: scratch, tuning: full}\n")
    message = refused("train", tmp_path / "run.yaml", f"output={tmp_path / 'run'}")
    assert "Did you mean 'synthetic-notes'?" in message


def test_an_output_that_cannot_be_a_folder(refused, tmp_path):
    config = write(tmp_path, rows())
    message = refused("train", config, f"output={tmp_path}/rows.jsonl/run")
    assert "rows.jsonl/run: the folder must be creatable; Not a directory. Choose another path." in message


def test_show_text_belongs_to_the_dry_run(refused, tmp_path):
    message = refused("train", write(tmp_path, rows()), "--show-text")
    assert "--show-text goes with --dry-run; training prints no text" in message


# ---- eval, predict, calibrate, quickstart ----


def test_eval_of_a_folder_that_is_no_run(refused, tmp_path):
    (tmp_path / "folder").mkdir()
    message = refused("eval", tmp_path / "folder")
    assert "must be a run directory (config.yaml); it is not. Train one first." in message


def test_eval_of_a_run_that_has_no_model(refused, tmp_path):
    (tmp_path / "folder").mkdir()
    write(tmp_path, rows()).rename(tmp_path / "folder" / "config.yaml")
    message = refused("eval", tmp_path / "folder")
    assert "must be a clsgen model directory (clsgen.json); it is not" in message


def test_eval_of_a_file_that_is_not_there(refused, tmp_path):
    assert "none.jsonl" in refused("eval", tmp_path / "none.jsonl")


def test_eval_options_of_a_file_with_a_run(refused, run_folder, tmp_path):
    message = refused("eval", run_folder, "-o", tmp_path)
    assert "--output and --positive go with a file of predictions, not with a run directory" in message


def test_predict_with_a_missing_model(refused, tmp_path):
    write(tmp_path, rows())
    message = refused("predict", tmp_path / "rows.jsonl", "-m", tmp_path / "none", "-o", tmp_path / "out.jsonl")
    assert "none must be a clsgen model directory (clsgen.json); it is not" in message


def test_predictions_that_cannot_be_written(refused, run_folder, tmp_path):
    write(tmp_path, rows(8))
    rows_file = tmp_path / "rows.jsonl"
    message = refused("predict", rows_file, "-m", run_folder, "-o", rows_file / "out.jsonl")
    assert "the folder must be creatable" in message


def test_predict_with_a_missing_column(refused, run_folder, tmp_path):
    (tmp_path / "new.csv").write_text("body\nsomebody was calm\n")
    message = refused("predict", tmp_path / "new.csv", "-m", run_folder, "-o", tmp_path / "out.jsonl")
    assert "data.columns.text must be a column of the data; got 'note'" in message


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("0.5", "prior must be 2 positive shares that sum to 1; got [0.5]"),
        ("0.5,0.6", "prior must be 2 positive shares that sum to 1; got [0.5, 0.6]"),
        ("1.5,-0.5", "prior must be 2 positive shares that sum to 1; got [1.5, -0.5]"),
        ("much,little", "--prior must be numbers joined by commas; got 'much,little'. Write 0.95,0.05."),
    ],
)
def test_a_prior_that_is_none(refused, run_folder, tmp_path, prior, message):
    write(tmp_path, rows(8))
    found = refused(
        "predict", tmp_path / "rows.jsonl", "-m", run_folder, "-o", tmp_path / "out.jsonl", "--prior", prior
    )
    assert message in found


def test_a_corrected_prior_is_not_in_the_way_of_itself(command, refused, run_folder, tmp_path):
    write(tmp_path, rows(8))
    arguments = ["predict", tmp_path / "rows.jsonl", "-m", run_folder, "-o", tmp_path / "out.jsonl", "--prior"]
    refused(*arguments, "0.5")
    ran = command(*arguments, "0.5,0.5")
    assert ran.code == 0, ran.err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 8


def test_predict_leaves_empty_texts_out_and_says_so(command, run_folder, tmp_path):
    table = rows(8)
    table[2]["note"] = ""
    write(tmp_path, table)
    ran = command("predict", tmp_path / "rows.jsonl", "-m", run_folder, "-o", tmp_path / "out.jsonl")
    assert ran.code == 0, ran.err
    assert "7 rows" in ran.out
    assert "Left out: 1 empty_text." in ran.out


@pytest.mark.parametrize(
    ("option", "known"),
    [
        (("--method", "nonsense"), "'auto', 'vector', 'temperature', 'isotonic' or 'none'"),
        (("--threshold", "nonsense"), "cost=NUMBER or alerts=NUMBER"),
        (("--abstain", "conformal=1"), "above 0 and at most 0.999"),
    ],
)
def test_calibrate_with_an_unknown_method(refused, run_folder, option, known):
    before = {path: path.read_bytes() for path in (run_folder / "model").iterdir()}
    message = refused("calibrate", run_folder, *option)
    assert f"calibrate: {option[0].removeprefix('--')}: " in message
    assert known in message
    assert "; got " in message
    assert {path: path.read_bytes() for path in (run_folder / "model").iterdir()} == before


def test_calibrate_with_a_method_that_the_rows_cannot_carry(refused, run_folder):
    before = (run_folder / "model" / "calibrator.json").read_bytes()
    assert "isotonic" in refused("calibrate", run_folder, "--method", "isotonic")
    assert (run_folder / "model" / "calibrator.json").read_bytes() == before


def test_calibrate_of_a_folder_that_is_no_run(refused, tmp_path):
    assert "must be a run directory (config.yaml); it is not" in refused("calibrate", tmp_path)


def test_quickstart_replaces_nothing_but_a_quickstart(refused, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    message = refused("quickstart", "-o", tmp_path)
    assert "output must be new or an earlier quickstart" in message
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
