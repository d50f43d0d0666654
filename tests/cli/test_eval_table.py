"""`clsgen eval TABLE`: anybody's columns, judged as scikit-learn judges them; what can't be judged is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import sklearn.metrics as reference


def binary(num_rows: int = 300) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(3)
    prob = rng.beta(1, 2, num_rows).round(3)
    label = (rng.random(num_rows) < prob).astype(int)
    return prob, label, [f"g{i}" for i in rng.integers(0, 120, num_rows)]


def written(folder: Path, text: str, name: str = "scores.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def table(prob, label, group) -> str:
    rows = zip(prob, label, group, strict=True)
    return "p,y,g,id\n" + "".join(f"{p},{y},{g},r{i}\n" for i, (p, y, g) in enumerate(rows))


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "csv.gz"])
def test_figures_are_those_of_scikit_learn(tmp_path, command, kind):
    import gzip

    prob, label, group = binary()
    source = tmp_path / f"scores.{kind}"
    text = table(prob, label, group)
    if kind == "parquet":
        columns = {"p": prob, "y": label, "g": group, "id": [f"r{i}" for i in range(len(prob))]}
        pyarrow.parquet.write_table(pyarrow.table(columns), source)
    elif kind == "csv.gz":
        source.write_bytes(gzip.compress(text.encode()))
    else:
        source.write_text(text.replace(",", "\t") if kind == "tsv" else text)
    options = ("--prob", "p", "--label", "y", "--group", "g", "--id", "id", "--threshold", 0.4, "--bootstrap", 200)
    ran = command("eval", source, "-o", tmp_path / "out", *options)
    assert ran.code == 0, ran.err
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    figures = {name: entry["value"] for name, entry in result["metrics"].items()}
    decided = prob >= 0.4
    expected = {
        "auroc": reference.roc_auc_score(label, prob),
        "auprc": reference.average_precision_score(label, prob),
        "brier": reference.brier_score_loss(label, prob),
        "log_loss": reference.log_loss(label, prob),
        "f1": reference.f1_score(label, decided),
        "accuracy": reference.accuracy_score(label, decided),
        "mcc": reference.matthews_corrcoef(label, decided),
    }
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-9), name
    assert result["num_groups"] == len(set(group))
    assert result["metrics"]["auroc"]["low"] < figures["auroc"] < result["metrics"]["auroc"]["high"]
    assert result["metrics"]["auroc"]["analytic"]["method"] == "Obuchowski"
    assert "readability" not in ran.out, "there are no texts to judge"


@pytest.mark.parametrize("tying", [("--group", "g"), ("--id", "id")], ids=["groups", "ids alone"])
def test_the_order_of_rows_changes_nothing(tmp_path, command, tying):
    prob, label, group = binary()
    lines = table(prob, label, group).splitlines(keepends=True)
    options = ("--prob", "p", "--label", "y", *tying, "--bootstrap", 100)
    found = []
    for name, rows in (("a", lines[1:]), ("b", lines[:0:-1])):
        source = written(tmp_path, lines[0] + "".join(rows), f"{name}.csv")
        assert command("eval", source, "-o", tmp_path / name, *options).code == 0
        found.append(json.loads((tmp_path / name / "metrics.json").read_text())["metrics"])
    for name, entry in found[0].items():
        for end in ("value", "low", "high"):
            assert entry[end] == pytest.approx(found[1][name][end], abs=1e-9), name


@pytest.mark.parametrize("word", ["NA", "nan", "NaN", "null"])
def test_labels_that_look_like_nothing_are_labels(tmp_path, command, word):
    prob = np.random.default_rng(1).random(60).round(3)
    label = [word if p > 0.4 else "AD" for p in prob]
    text = "p,y\n" + "".join(f"{p},{y}\n" for p, y in zip(prob, label, strict=True)) + "0.5,\n"
    options = ("--prob", "p", "--label", "y", "--positive", word, "--bootstrap", 100)
    ran = command("eval", written(tmp_path, text), "-o", tmp_path, *options)
    assert ran.code == 0, ran.err
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["num_by_label"] == {"AD": label.count("AD"), word: label.count(word)}
    assert (result["num_unlabelled"], result["metrics"]["auroc"]["value"]) == (1, 1.0)
    assert "1 without a label" in ran.out
    text = "p,y\n0.2,1\n0.3,0\n0.4,NA\n"
    ran = command("eval", written(tmp_path, text), "-o", tmp_path, "--prob", "p", "--label", "y", "--positive", "1")
    assert ran.code == 2
    assert "leave the cells of unlabelled rows empty" in " ".join(ran.err.split())


def test_three_classes_a_column_each(tmp_path, command):
    rng = np.random.default_rng(0)
    prob = rng.dirichlet([1, 1, 1], 200)
    label = np.array(["low", "mid", "high"])[[rng.choice(3, p=row) for row in prob]]
    text = "a,b,c,y\n" + "".join(f"{a},{b},{c},{y}\n" for (a, b, c), y in zip(prob.tolist(), label, strict=True))
    options = ("--prob", "low=a", "--prob", "mid=b", "--prob", "high=c", "--label", "y", "--bootstrap", 100)
    ran = command("eval", written(tmp_path, text), "-o", tmp_path, *options)
    assert ran.code == 0, ran.err
    figures = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    index = np.array([["low", "mid", "high"].index(y) for y in label])
    assert figures["auroc"]["value"] == pytest.approx(reference.roc_auc_score(index, prob, multi_class="ovr"))
    assert figures["accuracy"]["value"] == pytest.approx((prob.argmax(1) == index).mean())


def test_rows_without_label_are_counted_and_one_class_is_undefined_not_zero(tmp_path, command):
    text = "p,y\n0.2,1\n0.7,1\n0.4,\n"
    ran = command("eval", written(tmp_path, text), "-o", tmp_path, "--prob", "p", "--label", "y")
    assert ran.code == 0, ran.err
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["num_unlabelled"] == 1
    assert result["metrics"]["auroc"]["value"] is None
    assert result["metrics"]["auroc"]["reason"] == "no row is labelled '0'"
    assert result["metrics"]["brier"]["value"] == pytest.approx((0.64 + 0.09) / 2)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("p,y\n0.2,1\nnan,0\n", (), "p must be a number from 0 to 1 in every row; got nan in row 2 (1 such rows)"),
        ("p,y\n0.2,1\n1.2,0\n", (), "got 1.2 in row 2"),
        ("p,y\n0.2,1\nmany,0\n", (), "many"),
        ("p,y\n0.2,yes\n0.3,no\n", (), "positive must say which label the probability is of; y holds ['no', 'yes']"),
        ("p,y\n0.2,a\n0.3,b\n0.1,c\n", ("--positive", "a"), "Name a column for every label: --prob LABEL=COLUMN"),
        ("p,y,g\n0.2,1,a\n0.3,0,\n", ("--group", "g"), "g must be given in every row; row 2 has none"),
        ("p,y,k\n0.2,1,a\n0.3,0,a\n", ("--id", "k"), "k must hold every id once; got 'a' more than once"),
        ("q,y\n0.2,1\n", (), "the column 'p' must be there; got ['q', 'y']"),
        ("p;y\n0.2;1\n", (), "the column 'p' must be there; got ['p;y']"),
        ("p,y\n0.2,1\n", ("--label", "p"), "--prob and --label must be different columns; got 'p' for both"),
        ("p,y\n", (), "the file must hold at least one row"),
        ("p,y\n0.2,1\n", ("--threshold", "2"), "threshold must be from 0 to 1; got 2"),
        ("p,y\n0.2,1\n", ("--bootstrap", "5"), "--bootstrap must be 100 or more; got 5"),
        ("p,y\n0.2,1\n", ("--prob", "no=p"), "LABEL=COLUMN once for every label"),
        ("p,y,p\n0.2,1,0.3\n", (), "the column 'p' must be there once; got ['p', 'y', 'p']"),
        ("p,y\n0.2,yes\n0.7,yes\n", ("--positive", "Yes"), "positive must be a label of y, ['yes']; got 'Yes'"),
        ("p=1,y\n0.2,1\n", ("--prob", "p=1"), "an equals sign is written =COLUMN"),
    ],
)
def test_what_cannot_be_judged_is_named(tmp_path, command, text, options, message):
    ran = command("eval", written(tmp_path, text), "-o", tmp_path / "out", "--prob", "p", "--label", "y", *options)
    assert ran.code == 2, ran.out
    assert message in " ".join(ran.err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_order_of_the_columns_does_not_choose_the_positive_label(tmp_path, command, order):
    prob, label, _ = binary()
    text = "p0,p1,y\n" + "".join(f"{1 - p},{p},{y}\n" for p, y in zip(prob, label, strict=True))
    options = [word for number in order for word in ("--prob", f"{number}=p{number}")]
    ran = command("eval", written(tmp_path, text), "-o", tmp_path, *options, "--label", "y", "--bootstrap", 100)
    assert ran.code == 0, ran.err
    assert "positive: 1" in ran.out
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["positive"] == "1"
    assert found["metrics"]["sensitivity"]["value"] == pytest.approx(reference.recall_score(label, prob >= 0.5))
    text = text.replace("p0,p1,y", "q,r,y")
    ran = command("eval", written(tmp_path, text), "-o", tmp_path, "--prob", "no=q", "--prob", "yes=r", "--label", "y")
    assert ran.code == 2


def test_of_two_named_labels_the_positive_one_must_be_said(tmp_path, command):
    source = written(tmp_path, "q,r,y\n0.2,0.8,yes\n0.7,0.3,no\n")
    options = ("--prob", "no=q", "--prob", "yes=r", "--label", "y")
    ran = command("eval", source, "-o", tmp_path / "out", *options)
    assert ran.code == 2
    assert "positive must say which of the labels ['no', 'yes'] is reported" in " ".join(ran.err.split())
    assert command("eval", source, "-o", tmp_path / "out", *options, "--positive", "yes").code == 0


def test_a_group_that_is_no_number_is_refused_as_an_empty_one_is(tmp_path, command):
    columns = {"p": [0.2, 0.7, 0.4], "y": [0, 1, 0], "g": [1.0, float("nan"), 2.0]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "scores.parquet")
    options = ("--prob", "p", "--label", "y", "--group", "g")
    ran = command("eval", tmp_path / "scores.parquet", "-o", tmp_path / "out", *options)
    assert ran.code == 2
    assert "g must be given in every row; row 2 has none" in " ".join(ran.err.split())


def test_few_groups_and_draws_without_a_value_are_said(tmp_path, command):
    text = "p,y,g\n" + "".join(f"{0.9 if n == 7 else 0.1 + n / 1000},{n % 3 == 1:d},{n % 5}\n" for n in range(60))
    options = ("--prob", "p", "--label", "y", "--group", "g", "--bootstrap", 100)
    ran = command("eval", written(tmp_path, text), "-o", tmp_path, *options)
    assert ran.code == 0, ran.err
    shown = " ".join(ran.out.split())
    assert "Intervals from draws of 5 groups are too narrow. * undefined in some draws, which are left out." in shown
    ppv = json.loads((tmp_path / "metrics.json").read_text())["metrics"]["ppv"]
    assert 0 < ppv["num_undefined_draws"] < 100
    assert "1.000 to 1.000*" in shown


def test_a_column_with_an_equals_sign_has_a_way_to_be_named(tmp_path, command):
    source = written(tmp_path, "p=1,y\n0.2,0\n0.7,1\n0.4,0\n")
    ran = command("eval", source, "-o", tmp_path / "out", "--prob", "=p=1", "--label", "y")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]["auroc"]["value"] == 1


def test_probabilities_must_add_up(tmp_path, command):
    source = written(tmp_path, "a,b,y\n0.2,0.8,a\n0.3,0.6,b\n")
    options = ("--prob", "a=a", "--prob", "b=b", "--label", "y", "--positive", "b")
    ran = command("eval", source, "-o", tmp_path / "out", *options)
    assert ran.code == 2
    assert "must add up to 1; got 0.8999999999999999 in row 2" in " ".join(ran.err.split())


def test_the_figures_of_a_run_are_not_overwritten_by_accident(tmp_path, command):
    source = written(tmp_path, "p,y\n0.2,1\n0.1,0\n")
    (tmp_path / "config.yaml").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "metrics.json").write_text("{}")
    ran = command("eval", source, "--prob", "p", "--label", "y")
    assert ran.code == 2
    assert "stands in a run, whose metrics.json it would overwrite" in " ".join(ran.err.split())
    assert (tmp_path / "metrics.json").read_text() == "{}"
    assert command("eval", source, "-o", tmp_path / "out", "--prob", "p", "--label", "y").code == 0


def test_a_column_alone_is_refused(tmp_path, command):
    ran = command("eval", written(tmp_path, "p,y\n0.2,1\n"), "--label", "y")
    assert ran.code == 2
    assert "--label goes with a table, which needs --prob and --label" in " ".join(ran.err.split())


def test_columns_to_judge_by_are_read_from_the_table(tmp_path, command):
    prob, label, group = binary()
    site = ["north", "south"]
    lines = [f"{p},{y},{g},{site[i % 2]}\n" for i, (p, y, g) in enumerate(zip(prob, label, group, strict=True))]
    source = written(tmp_path, "p,y,g,site\n" + "".join(lines))
    options = ("--prob", "p", "--label", "y", "--group", "g", "--bootstrap", 100)
    ran = command("eval", source, "-o", tmp_path / "out", *options, "--by", "site")
    assert ran.code == 0, ran.err
    parts = json.loads((tmp_path / "out" / "metrics.json").read_text())["subgroups"]["site"]
    assert [part["value"] for part in parts] == site
    north = reference.roc_auc_score(label[::2], prob[::2])
    assert parts[0]["figures"]["auroc"]["value"] == pytest.approx(north)
    assert "By part of the rows" in ran.out
    assert command("eval", source, *options, "--by", "town").code == 2


def test_only_the_figures_that_are_wanted_are_computed(tmp_path, command):
    source = written(tmp_path, table(*binary()))
    options = ("--prob", "p", "--label", "y", "--bootstrap", 100)
    ran = command("eval", source, "-o", tmp_path / "some", *options, "--figures", "auroc,brier,ppv")
    assert ran.code == 0, ran.err
    some = json.loads((tmp_path / "some" / "metrics.json").read_text())["metrics"]
    assert list(some) == ["auroc", "brier", "ppv"]
    command("eval", source, "-o", tmp_path / "all", *options)
    all_of_them = json.loads((tmp_path / "all" / "metrics.json").read_text())["metrics"]
    assert some == {name: all_of_them[name] for name in some}
    refused = command("eval", source, *options, "--figures", "aurocs")
    assert refused.code == 2
    assert "Did you mean 'auroc'?" in refused.err


def test_a_table_loads_no_torch(tmp_path):
    import subprocess
    import sys

    source = written(tmp_path, table(*binary()))
    code = (
        "import sys\nfrom clsgen.cli.main import main\n"
        f"sys.argv = ['clsgen', 'eval', {str(source)!r}, '--prob', 'p', '--label', 'y', '--bootstrap', '100']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('loaded:', [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded: []" in ran.stdout


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--evidence",), "--evidence goes with a run directory; this is a table"),
        (("--base", "x"), "--base goes with a run directory; this is a table"),
        (("--by", "y"), "--by must be other columns than label and probability; got 'y'"),
        (("--by", "p"), "--by must be other columns than label and probability; got 'p'"),
    ],
)
def test_what_a_table_has_no_use_for_is_refused(tmp_path, command, extra, message):
    source = written(tmp_path, table(*binary()))
    ran = command("eval", source, "--prob", "p", "--label", "y", *extra)
    assert ran.code == 2
    assert message in " ".join(ran.err.split())


def test_a_table_without_options_asks_for_its_columns(tmp_path, command):
    ran = command("eval", written(tmp_path, "p,y\n0.2,1\n"))
    assert ran.code == 2
    assert "is a table. Name its columns with --prob and --label" in " ".join(ran.err.split())


def test_a_threshold_of_three_labels_is_refused(tmp_path, command):
    rows = "".join(f"{a},{b},{1 - a - b},{'abc'[i % 3]}\n" for i, (a, b) in enumerate([(0.25, 0.25), (0.5, 0.25)] * 6))
    source = written(tmp_path, "a,b,c,y\n" + rows)
    probs = [part for name in "abc" for part in ("--prob", f"{name}={name}")]
    ran = command("eval", source, *probs, "--label", "y", "--bootstrap", 100, "--threshold", 0.2)
    assert ran.code == 2
    assert "threshold must be left out with more than two labels" in ran.err


def test_wanted_figures_are_all_that_parts_show(tmp_path, command):
    source = written(tmp_path, table(*binary()))
    options = ("--prob", "p", "--label", "y", "--bootstrap", 100, "--by", "g", "--figures", "auroc, brier")
    text = source.read_text().splitlines()
    source.write_text(
        "\n".join([text[0], *(line.rsplit(",", 2)[0] + f",{i % 2},x{i}" for i, line in enumerate(text[1:]))])
    )
    ran = command("eval", source, "-o", tmp_path / "out", *options)
    assert ran.code == 0, ran.err
    parts = json.loads((tmp_path / "out" / "metrics.json").read_text())["subgroups"]["g"]
    assert [list(part["figures"]) for part in parts] == [["auroc", "brier"]] * 2
