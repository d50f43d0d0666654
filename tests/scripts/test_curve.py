"""Bases of other sizes: what a point of the curve is made of, and what it says where something is missing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import measure_curve
from clsgen.data.predictions import read_predictions
from studies import write_run

BEGUN = {"tokens": 0, "stage": "curve-small-33m", "parameters": 7_570_000}
ENDED = {"tokens": 32_997_376, "bits_per_byte": 0.97, "is_last": True}
CONFIG = "data: {task: synthetic-notes}\nmodel: {backbone: embedded}\n"


@pytest.fixture
def base_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "runs/base/curve-small-33m/log.jsonl"
    file.parent.mkdir(parents=True)

    def write(*lines: dict[str, object]) -> None:
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    write(BEGUN, ENDED)
    return write


def folds(num: int) -> list[Path]:
    """Runs of the first folds, each with rows of its own; the shipped base's, with the baselines' rows beside them."""
    folders = [measure_curve.fold_folder("notes", "small-33m", fold) for fold in range(num)]
    for fold, (folder, shipped) in enumerate(zip(folders, measure_curve.shipped_folders("notes"), strict=False)):
        write_run(folder, num_rows=60 + 2 * fold)
        file = folder / "predictions.jsonl"
        lines = file.read_text(encoding="utf-8").replace('"row', f'"fold{fold}-row')
        file.write_text(lines, encoding="utf-8")
        (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
        (folder / "metrics.json").write_text("{}", encoding="utf-8")
        shipped.mkdir(parents=True)
        turned = lines.replace('"probs": {"no"', '"probs": {"x"').replace('"yes": 0', '"no": 0').replace('"x"', '"yes"')
        for name, text in (("predictions", turned), ("tfidf", lines), ("cnn", turned)):
            (shipped / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folders


def told(points: list[dict[str, Any]], *, shared: list[int]) -> str:
    return measure_curve.table({"name": "notes", "commands": [], "shared_folds": shared, "points": points})


def auroc(folders: list[Path]) -> float:
    rows = [row for folder in folders for row in read_predictions(folder / "predictions.jsonl")]
    return float(roc_auc_score([row.label == "yes" for row in rows], [row.probs["yes"] for row in rows]))


@pytest.mark.parametrize("num", [5, 3])
def test_a_points_figures_are_those_of_its_folds_together(base_log, num):
    folders = folds(num)
    point = measure_curve.measured("notes", "small-33m")
    wanted = auroc(folders)
    assert point["figures"]["auroc"]["value"] == pytest.approx(wanted)
    assert point["less"]["TF-IDF"]["difference"] == 0
    turned = auroc(measure_curve.shipped_folders("notes")[:num])
    assert abs(wanted - turned) > 0.1
    for other in (measure_curve.SHIPPED, "CNN"):
        assert point["less"][other]["difference"] == pytest.approx(wanted - turned)
    assert (point["parameters"], point["tokens"], point["bits_per_byte"]) == (7_570_000, 32_997_376, 0.97)
    assert (measure_curve.LOGS / "small-33m.jsonl").read_text(encoding="utf-8").count("\n") == 2
    line = measure_curve.table({"name": "notes", "commands": [], "shared_folds": [], "points": [point]}).splitlines()[
        -1
    ]
    assert line.startswith(f"| small-33m | 7.6 million | 33.0 million | 0.970 | {num} of 5 | {wanted:.3f} (")


def test_a_base_that_nothing_was_trained_from_says_so(base_log):
    point = measure_curve.measured("notes", "small-33m")
    line = measure_curve.table({"name": "notes", "commands": [], "shared_folds": [], "points": [point]}).splitlines()[
        -1
    ]
    start = "| small-33m | 7.6 million | 33.0 million | 0.970 | 0 of 5 | not measured | not measured |"
    assert line.split() == [*start.split(), "|", "|", "|"]


def test_points_on_other_folds_are_compared_on_the_shared_ones(base_log):
    folders = folds(5)
    for folder in measure_curve.shipped_folders("notes"):
        for name in ("config.yaml", "metrics.json"):
            shutil.copy(folders[0] / name, folder / name)
        shutil.copytree(folders[0] / "model", folder / "model")
    for folder in folders[2:]:
        (folder / "metrics.json").unlink()
    points = [measure_curve.measured("notes", "small-33m"), {"base": "large-33m", "folds": []}]
    shipped = measure_curve.shipped_folders("notes")
    points.append({"base": "shipped", **measure_curve.figures_of(shipped, shipped)})
    assert [point["folds"] for point in points] == [[0, 1], [], [0, 1, 2, 3, 4]]
    assert measure_curve.on_shared_folds("notes", points) == [0, 1]
    of_all, of_two = auroc(shipped) - auroc(folders), auroc(shipped[:2]) - auroc(folders[:2])
    assert points[2]["less"]["TF-IDF"]["difference"] == pytest.approx(of_all)
    assert points[2]["shared"]["less"]["TF-IDF"]["difference"] == pytest.approx(of_two)
    assert points[0]["shared"]["less"]["shipped"]["difference"] == pytest.approx(-of_two)
    assert abs(of_all - of_two) > 1e-4
    assert "shared" not in points[1]
    facts = {"parameters": 7_570_000, "tokens": 1, "bits_per_byte": 1.0}
    points = [facts | point for point in points if point["folds"]]
    table = told(points, shared=[0, 1])
    assert "less TF-IDF on folds 0 and 1 |" in table
    assert f"{of_two:+.3f} (" in next(line for line in table.splitlines() if line.startswith("| shipped"))


def test_a_base_is_made_when_its_last_run_ended(base_log):
    assert measure_curve.is_made("small-33m")
    base_log(BEGUN, ENDED, BEGUN, {"tokens": 819_200, "nats": 7.0})
    assert not measure_curve.is_made("small-33m")
    base_log(BEGUN, {"tokens": 819_200, "nats": 7.0}, BEGUN, ENDED)
    assert measure_curve.is_made("small-33m")
    assert [line["tokens"] for line in measure_curve.base_log("small-33m")] == [0, 32_997_376]
    assert not measure_curve.is_made("large-33m")


def test_the_shipped_base_is_what_its_stages_logs_say():
    (parameters, tokens) = (measure_curve.shipped("nowhere")[name] for name in ("parameters", "tokens"))
    card = (Path(__file__).parents[2] / "src/clsgen/assets/embedded/README.md").read_text(encoding="utf-8")
    assert f"{parameters / 1e6:.1f} million" in card
    assert f"{tokens / 1e6:.1f} million" in card


def test_a_point_stays_where_its_runs_are_gone():
    earlier = [{"base": "small-33m", "folds": [0, 1, 2]}, {"base": "shipped", "folds": [0]}]
    now = [{"base": "small-33m", "folds": [0], "is_new": True}, {"base": "shipped", "folds": [0], "is_new": True}]
    assert measure_curve.beside(earlier, now) == [earlier[0], now[1]]
    assert measure_curve.beside([], now) == now
