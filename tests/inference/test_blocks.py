"""Blocks without Ray: what is written, what counts as finished, what an output may be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tiny
from clsgen.config.data import ColumnSettings
from clsgen.data.plan import Plan, plan_blocks
from clsgen.data.shards import shard_files
from clsgen.errors import ArtifactError, ConfigError
from clsgen.inference import blocks as blocks_module
from clsgen.inference.batch import predict_file
from clsgen.inference.blocks import (
    BlockPredictor,
    Form,
    Job,
    form_of,
    join_blocks,
    remove_half_written,
    unfinished,
    write_groups,
)
from clsgen.inference.partial import Wanted
from clsgen.inference.predictor import Classifier

COLUMNS = ColumnSettings(id="id")
ROWS = tiny.examples(20)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(tiny.bundle_of(tiny.dual(tiny.save("llama", tmp_path_factory.mktemp("m") / "base"))))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clsgen.inference.blocks.WINDOW", "clsgen.inference.batch.WINDOW"):
        monkeypatch.setattr(name, 4)


def planned(folder: Path, form: Form) -> tuple[Job, Plan]:
    source = folder / "in.jsonl"
    source.write_text("".join(json.dumps({"id": r.id, "text": r.document, "label": r.label}) + "\n" for r in ROWS))
    plan = plan_blocks(str(source), COLUMNS, labels=tiny.SPEC.labels, block_rows=8)
    (folder / "work").mkdir()
    job = Job(
        model=folder,
        base=None,
        files=tuple(shard_files(str(source))),
        columns=COLUMNS,
        wanted=Wanted("all"),
        folder=folder / "work",
        form=form,
        weights_sha256="w",
        is_private=False,
    )
    write_groups(job, plan.group_N)
    return job, plan


def local(classifier: Classifier, folder: Path) -> list[dict[str, object]]:
    groups = {row.id: f"g{number}" for number, row in enumerate(ROWS)}
    predict_file(classifier, ROWS, folder / "local.jsonl", explain="all", groups=groups)
    return [json.loads(line) for line in (folder / "local.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out"])
def test_joined_blocks_are_what_one_process_writes(
    classifier: Classifier, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "SHARD_BLOCKS", 2)
    expected = local(classifier, tmp_path)
    job, plan = planned(tmp_path, form_of(tmp_path / name))
    predictor = BlockPredictor(job, classifier)
    for block in reversed(plan.blocks):
        predictor.write(block)
    join_blocks(job, plan.blocks, tmp_path / name)
    if name == "out.jsonl":
        assert (tmp_path / name).read_bytes() == (tmp_path / "local.jsonl").read_bytes()
        return
    found = pq.read_table(tmp_path / name).to_pylist()
    assert len({row.pop("text_hash") for row in found}) == len(ROWS)
    assert found == expected
    if name == "out":
        assert [part.name for part in sorted((tmp_path / "out").iterdir())] == [
            "part-00000.parquet",
            "part-00001.parquet",
        ]


def test_only_whole_blocks_count_as_finished(classifier: Classifier, tmp_path: Path) -> None:
    job, plan = planned(tmp_path, "jsonl")
    BlockPredictor(job, classifier).write(plan.blocks[1])
    half = job.folder / ".block-0000000.jsonl.1234.tmp"
    half.write_text('{"id": "half a li')
    assert [block.number for block in unfinished(job, plan.blocks)] == [0, 2]
    remove_half_written(job)
    assert not half.exists()
    assert job.file_of(1).exists()


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_block_with_other_rows_is_not_joined(classifier: Classifier, tmp_path: Path, form: Form) -> None:
    job, plan = planned(tmp_path, form)
    predictor = BlockPredictor(job, classifier)
    for block in plan.blocks:
        predictor.write(block)
    path = job.file_of(2)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=r"block-0000002\.\w+: a finished block must hold 4 rows; got \d"):
        join_blocks(job, plan.blocks, tmp_path / f"out.{form}")
    assert not (tmp_path / f"out.{form}").exists()


def test_what_an_output_may_be(tmp_path: Path) -> None:
    assert form_of(tmp_path / "a.jsonl") == "jsonl"
    assert form_of(tmp_path / "a.parquet") == form_of(tmp_path / "a") == "parquet"
    with pytest.raises(ConfigError, match=r"must end in \.jsonl or \.parquet, or be a folder.*got 'a\.csv'"):
        form_of(tmp_path / "a.csv")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "part-00000.parquet").touch()
    assert form_of(tmp_path / "old") == "parquet"
    (tmp_path / "old" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"must be a new folder.*holds thesis\.txt"):
        form_of(tmp_path / "old")


def test_restricted_blocks_and_output_are_the_owners_alone(classifier: Classifier, tmp_path: Path) -> None:
    job, plan = planned(tmp_path, "parquet")
    job = replace(job, is_private=True)
    for block in plan.blocks:
        BlockPredictor(job, classifier).write(block)
    join_blocks(job, plan.blocks, tmp_path / "out.parquet")
    for path in (*job.folder.glob("block-*"), tmp_path / "out.parquet"):
        assert path.stat().st_mode & 0o777 == 0o600
