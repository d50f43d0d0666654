"""Loading, overriding and saving a configuration; every problem of one at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clsgen.config.load import load_config, save_config
from clsgen.config.run import RunConfig
from clsgen.errors import ClsgenError, ConfigError

SCRATCH = "data: {task: synthetic-notes}\nmodel: {init: scratch, tuning: full}\n"


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def failure(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_read_and_the_rest_are_defaults(write) -> None:
    config = load_config(write(SCRATCH + "train:\n  learning_rate: 1e-4\n  class_weights: [1, 2.5]\n"))
    assert config.train.learning_rate == 1e-4
    assert config.train.class_weights == (1.0, 2.5)
    assert config.train.batch_size == RunConfig.model_fields["train"].default.batch_size


def test_overrides_win_over_the_file_and_later_ones_over_earlier(write) -> None:
    path = write(SCRATCH + "train: {learning_rate: 0.1}\n")
    overrides = ["train.learning_rate=1e-3", "train.learning_rate=1e-4", "output=runs/a=b", "data.split.seed = 3"]
    config = load_config(path, overrides)
    assert (config.train.learning_rate, config.output, config.data.split.seed) == (1e-4, "runs/a=b", 3)


def test_labels_stay_strings_in_files_and_overrides(write) -> None:
    labels = ("yes", "no", "NA", "None", "01", "é")
    own = "data: {train: rows.csv}\nmodel: {init: scratch, tuning: full}\n"
    overridden = load_config(write(own), ["data.labels=[yes, no, NA, None, 01, é]"])
    assert overridden.data.labels == labels
    assert load_config(write(own.replace("}\nm", ", labels: [yes, no, NA, None, 01, é]}\nm"))) == overridden


def test_labels_survive_a_saved_configuration(tmp_path: Path) -> None:
    labels = ["yes", "no", "NA", "None", "01", "NULL", "é", "true", "1e-4", "", "~"]
    config = RunConfig.model_validate(
        {"data": {"train": "a.csv", "labels": labels}, "model": {"init": "scratch", "tuning": "full"}}
    )
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_without_a_file_overrides_fill_the_defaults() -> None:
    config = load_config(None, ["data.task=synthetic-notes", "model.init=scratch", "model.tuning=full"])
    assert config.data.task == "synthetic-notes"
    assert failure(None).startswith("overrides: 2 settings must be corrected:\n  - data: set either data.task")


def test_an_empty_section_has_its_defaults_and_an_empty_value_is_null(write) -> None:
    config = load_config(write(SCRATCH + "train:\npredict: ~\n"), ["train.patience="])
    assert config.train.patience is None
    assert config.predict == RunConfig.model_fields["predict"].default


def test_every_problem_is_listed_at_once(write) -> None:
    path = write(
        "data: {task: 3, restricted: yes}\nmodel: {tuning: head_only, init: scratch}\n"
        "train: {learning_rate: -1, lerning_rate: 2, max_steps: 1.0, class_weights: [a]}\nevaluate: 3\n"
    )
    message = failure(path, "train.epochs=.nan", "nonsense")
    head, *lines = message.splitlines()
    assert head == f"{path}: 11 settings must be corrected:"
    expected = [
        "an override must be section.key=value; got 'nonsense'. Write it like train.learning_rate=1e-4.",
        "data.task must be text, or null; got 3. Put a text such as 1, true or null in quotes.",
        "data.restricted must be true or false; got 'yes'. "
        "Write true or false: YAML 1.2 reads yes, no, on and off as text.",
        "train.epochs must be a number above 0; got nan. The default is 3.0.",
        "train.max_steps must be a whole number of at least 1, or null; got 1.0. The default is null.",
        "train.learning_rate must be a number above 0; got -1. The default is 0.0002.",
        "train.class_weights must be one of none, balanced or a list of numbers; got ['a']. The default is \"none\".",
        "train.lerning_rate must be a known setting; got the key 'lerning_rate'. Did you mean train.learning_rate?",
        "evaluate must be a mapping of settings; got 3. Indent its settings below it.",
        "model.tuning must be full with model.init: scratch; got 'head_only'.",
        "train.explanation_weight must be 0 with model.tuning: head_only, whose language head is frozen. "
        "Set it to 0, or choose lora or full.",
    ]
    assert sorted(lines) == sorted(f"  - {line}" for line in expected)


def test_one_problem_is_one_line(write) -> None:
    path = write(SCRATCH + "train: {batch_size: 0}\n")
    rule = "train.batch_size must be a whole number of at least 1; got 0. The default is 8."
    assert failure(path) == f"{path}: {rule}"


@pytest.mark.parametrize("name", ["Embedded", "embeded", "embbedded"])
def test_a_misspelt_embedded_is_not_looked_for_on_the_hub(write, name: str) -> None:
    path = write(f"data: {{task: synthetic-notes}}\nmodel: {{backbone: {name}}}\n")
    assert failure(path) == f"{path}: model.backbone: the base of the package is spelt embedded; got {name!r}."


def test_a_folder_of_a_name_like_embedded_is_a_folder(write, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "Embedded").mkdir()
    monkeypatch.chdir(tmp_path)
    path = write("data: {task: synthetic-notes}\nmodel: {backbone: Embedded}\n")
    assert load_config(path).model.backbone == "Embedded"


def test_the_embedded_base_has_no_revisions(write) -> None:
    path = write("data: {task: synthetic-notes}\nmodel: {backbone: embedded, revision: v2}\n")
    assert failure(path) == f"{path}: model.revision must be null with model.backbone: embedded; got 'v2'."


def test_combinations_with_a_faulty_setting_are_not_reported(write) -> None:
    # model.backbone is misspelt: "must name a hub id" would blame the user for what stands there.
    message = failure(write("data: {task: synthetic-notes}\nmodel: {bakbone: gpt2}\n"))
    assert "Did you mean model.backbone?" in message
    assert "hub id" not in message


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        (
            "train: {lerning_rate: 1}",
            "train.lerning_rate must be a known setting; .* Did you mean train.learning_rate?",
        ),
        ("learning_rate: 1", "learning_rate must be a known setting; .* Did you mean train.learning_rate?"),
        ("data: {split: {folds: 3}}", "data.split.folds must be a known setting; .* Did you mean data.split.fold?"),
        ("tranin: {epochs: 1}", "tranin must be a known setting; .* Did you mean train?"),
        (
            "predict: {zzz: 1}",
            "predict.zzz must be .* Known here: engine, batch_tokens, explain, mode, no_repeat_ngram, uncertain_margin",
        ),
        ("train.epochs: 1", "train.epochs must be .* Write 'epochs' indented below its section"),
        ("1: 2", "1 must be a known setting; got the key '1'. Known here: output, data, model"),
    ],
)
def test_an_unknown_key_names_the_nearest(write, key: str, advice: str) -> None:
    message = failure(write(key))
    assert re.search(advice.replace("?", r"\?"), message), message


def test_no_value_is_coerced(write) -> None:
    for value in ("'3'", "true", "3.0"):
        assert "train.seed must be a whole number" in failure(write(SCRATCH), f"train.seed={value}")
    assert "data.labels must be a list of texts, or null; got [1, 2]" in failure(write(SCRATCH), "data.labels=[1, 2]")
    assert "model.truncation must be one of head, tail, middle; got 'left'" in failure(
        write(SCRATCH), "model.truncation=left"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "an override must be section.key=value; got 'train.epochs'"),
        ("train..epochs=1", "an override must be section.key=value; got 'train..epochs=1'"),
        ("train.report_to=[a", "override train.report_to, line 1: the text must be valid YAML 1.2"),
        ("output.x=1", "override output.x: output must be a mapping of settings; got 'runs/a'. Correct the key."),
    ],
)
def test_a_broken_override(write, override: str, message: str) -> None:
    assert message in failure(write(SCRATCH + "output: runs/a\n"), override)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "the file must be a mapping of sections; got a list"),
        (b"data: {task: a}\ndata: {task: b}\n", "line 2: .*key 'data' stands twice, first on line 1"),
        (b"output: caf\xe9\n", "the file must be UTF-8; .* at byte 11"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    assert re.match(re.escape(str(path)) + r".*" + message, failure(path))


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    message = failure(tmp_path / "none.yaml")
    assert "none.yaml: the configuration must be a readable file; No such file" in message
    assert "clsgen init" in message


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    config = load_config(None, ["data.task=synthetic-notes", "model.init=scratch", "model.tuning=full"])
    with pytest.raises(ConfigError, match=r"config\.yaml: the configuration must be writable; No such file"):
        save_config(config, tmp_path / "absent" / "config.yaml")


def test_config_error_is_also_a_value_error() -> None:
    assert issubclass(ConfigError, ClsgenError)
    assert issubclass(ConfigError, ValueError)
