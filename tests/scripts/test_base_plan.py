"""The stages of the embedded base as scripts/base.yaml plans them, and what is asked for wrongly."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from base import joint, plan
from base.stage import Schedule

BUILD = str(Path(__file__).parents[2] / "scripts" / "build_base.py")


@pytest.fixture
def whole():
    return plan.load_plan()


def test_every_stage_starts_from_one_that_is_there_and_reads_rows_of_every_length(whole):
    chains = [plan.chain_of(whole, name) for name in whole["stages"]]
    longest = max(chains, key=len)
    assert set(longest) == set(whole["stages"])
    lengths = set()
    for name in longest:
        schedule = Schedule(**whole["stages"][name]["schedule"])
        steps = range(schedule.num_tokens // schedule.batch_tokens)
        lengths |= {schedule.length(step) for step in steps}
        if plan.kind_of(whole["stages"][name]) == "instruct":
            lengths.add(whole["stages"][name]["bins"]["replayed_length"])
    assert {256, 512, 1024, 2048, whole["model"]["context"]} <= lengths


def test_a_trial_changes_what_it_names(whole):
    stage = plan.stage_of(whole, "pretrain-1", "pretrain")
    plan.change(whole, stage, ["schedule.num_tokens=16384", "model.width=128", "seed=5", "optimizer.matrix_rate=1"])
    assert (stage["schedule"]["num_tokens"], whole["model"]["width"], stage["seed"]) == (16384, 128, 5)
    assert stage["optimizer"]["matrix_rate"] == 1.0


@pytest.mark.parametrize(
    "text", ["model.withd=128", "optimizer.is_mun=false", "shedule.num_tokens=1", "schedule.num_tokens=abc", "seed.a=1"]
)
def test_a_setting_that_is_not_there_or_of_another_kind_is_named(whole, text):
    with pytest.raises(plan.PlanError, match=text.split("=")[0]):
        plan.change(whole, plan.stage_of(whole, "pretrain-1"), [text])


def test_a_later_stage_has_the_model_that_it_goes_on_with(whole):
    with pytest.raises(plan.PlanError, match="goes on with the model of pretrain-1"):
        plan.change(whole, plan.stage_of(whole, "pretrain-2"), ["model.width=256"])


def test_a_stage_starts_from_a_finished_one_alone(whole, tmp_path):
    stage, folder = plan.stage_of(whole, "pretrain-2"), tmp_path / "pretrain-1"
    with pytest.raises(plan.PlanError, match="build_base.py pretrain pretrain-1"):
        plan.start_of(stage, whole, tmp_path)
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    (folder / "log.jsonl").write_text('{"tokens": 70, "is_cut": true}\n')
    with pytest.raises(plan.PlanError, match="no finished run"):
        plan.start_of(stage, whole, tmp_path)
    (folder / "log.jsonl").write_text('{"tokens": 70, "is_last": true}\n')
    assert plan.start_of(stage, whole, tmp_path) == folder


def test_tokens_are_those_of_the_last_run_which_has_to_be_finished(tmp_path):
    log = tmp_path / "log.jsonl"
    with pytest.raises(plan.PlanError, match="no finished run"):
        plan.tokens_read(log)
    log.write_text('{"tokens": 900, "is_last": true}\n{"tokens": 0}\n{"tokens": 70, "is_last": true}\n')
    assert plan.tokens_read(log) == 70
    with log.open("a") as handle:
        handle.write('{"tokens": 10}\n')
    with pytest.raises(plan.PlanError, match="no finished run"):
        plan.tokens_read(log)


def test_a_source_without_a_weight_is_left_out():
    drawn = joint.epochs({"a": [1, 2, 3], "b": [4, 5]}, {"a": 1.0}, np.random.default_rng(0))
    assert {next(drawn) for _ in range(30)} == {1, 2, 3}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "nosuch"], f"stage must be one of {', '.join(plan.load_plan()['stages'])}; got 'nosuch'."),
        (["instruct", "pretrain-1"], "Run: python scripts/build_base.py pretrain pretrain-1"),
        (["pretrain", "pretrain-1", "--set", "model.withd=128"], "has no model.withd"),
        (["ship", "nosuch"], "stage must be one of"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_built_is_one_line(tmp_path, words, said):
    (tmp_path / "data" / "corpus").mkdir(parents=True)
    found = subprocess.run(
        [sys.executable, BUILD, *words],
        env={**os.environ, "CLSGEN_SHARED": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert said in found.stderr


@pytest.mark.slow
def test_a_missing_data_folder_is_one_line(tmp_path):
    found = subprocess.run(
        [sys.executable, BUILD, "tokenizer"],
        env={**os.environ, "CLSGEN_SHARED": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        found.stderr == f"error: {tmp_path / 'data'} is not there. Set CLSGEN_SHARED to the folder that holds data/.\n"
    )
