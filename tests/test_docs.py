"""What the documentation says is done: its Python runs, its configurations load, its commands and figures exist."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import typer

from clsgen import StockClassifier
from clsgen.cli.main import COMMANDS, app
from clsgen.config.load import load_config
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.export import export_run
from clsgen.pipeline.train import train_run
from stock_server import Stock, serving

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "decisions")
WITH_PYTHON = ["reference/python.md", "how-to/recalibrate.md", "how-to/lcd.md", "how-to/export.md", "how-to/sklearn.md"]

_FENCE = re.compile(r"^```([^`\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)?(?:#[^)]*)?\)")
# The run of the pages, made small: own-data.md's configuration with these settings changed.
_TINY = [
    "data.train=notes.csv",
    "model={init: scratch, tuning: full, backbone: null, max_explanation_tokens: 64}",
    "model.max_length_tokens=200",
    "model.scratch={vocabulary: 420, width: 32, num_layers: 1, num_heads: 2}",
    "train.max_steps=10",
    "train.eval_steps=5",
    "train.precision=float32",
    "train.patience=null",
    "train.num_monitor_explanations=0",
    "evaluate.num_bootstrap=100",
]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return [text for found, text in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the pages leave it: notes.csv, and runs/falls trained on it and judged."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_notes(folder / "notes.csv")
        (folder / "run.yaml").write_text(blocks(DOCS / "how-to/own-data.md", "yaml")[0], encoding="utf-8")
        evaluate_run(train_run(load_config(folder / "run.yaml", _TINY)))
    return folder


def write_notes(path: Path) -> None:
    """Rows with the columns of own-data.md, two a patient."""
    signs = {"yes": "walks unsteadily with a frame", "no": "climbs stairs without help"}
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["note", "fell", "why", "patient"])
        for number in range(120):
            label = "yes" if number % 5 < 2 else "no"
            text = f"On day {number} the patient {signs[label]}."
            table.writerow([text, label, f"The note says that the patient {signs[label]}.", f"p{number // 2}"])


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs(page: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    found = blocks(DOCS / page, "python")
    assert found
    names: dict[str, Any] = {}
    with exported(names) if page == "how-to/export.md" else nullcontext("") as url:
        for block in found:
            exec(compile(block.replace("http://localhost:8000/v1", url), page, "exec"), names)
    if url:
        assert names["p"] == pytest.approx(list(names["prediction"].probs.values()), abs=1e-4)


@contextmanager
def exported(names: dict[str, Any]) -> Iterator[str]:
    """What the page on exports has at hand: both directories, a server of the first, and a text's prompt."""
    export_run(Path("runs/falls"), "folded", Path("folded"))
    export_run(Path("runs/falls"), "seqcls", Path("seqcls"), is_refit=True)
    with serving(Stock(Path("folded"), "ids", max_logprobs=20).complete) as url:
        with StockClassifier(Path("folded"), url) as classifier:
            names["prompt_ids"] = classifier.renderer.prompt("a text").ids
        yield url


def test_no_page_with_python_is_left_out() -> None:
    assert sorted(WITH_PYTHON) == [str(page.relative_to(DOCS)) for page in PAGES if blocks(page, "python")]


def test_every_configuration_of_the_pages_loads(tmp_path: Path) -> None:
    found = [block for page in PAGES for block in blocks(page, "yaml")]
    assert len(found) > 3
    for block in found:
        (tmp_path / "run.yaml").write_text(block, encoding="utf-8")
        load_config(tmp_path / "run.yaml")


def test_every_example_loads() -> None:
    examples = sorted((ROOT / "examples").glob("*.yaml"))
    assert len(examples) > 4
    for path in examples:
        assert load_config(path).model.backbone == "embedded"


def test_every_command_of_the_pages_exists_with_its_options() -> None:
    lines = [line for page in [*PAGES, ROOT / "README.md"] for block in blocks(page, "sh") for line in commands(block)]
    assert len(lines) > 15
    for words in lines:
        assert words[0] in COMMANDS, words
        command, rest = loaded(words)
        known = {"-h", "--help"} | {name for each in command.params for name in each.opts if name.startswith("-")}
        assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known, words
        # parsed as the command itself would, arguments that are paths of the reader's included
        command.make_context(words[0], list(rest))


def commands(block: str) -> list[list[str]]:
    """The words after `clsgen` of each line that calls it, alone or through `accelerate launch -m clsgen.cli`."""
    found = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    return [
        words[words.index(name) + 1 :]
        for words in found
        for name in ("clsgen", "clsgen.cli")
        if name in words and words[0] in ("clsgen", "accelerate")
    ]


def loaded(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words call, and what follows its name."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        _, command, words = command.resolve_command(typer.Context(command), words)
    return command, words


def test_links_between_pages_lead_somewhere() -> None:
    found = [(page, target) for page in DOCS.rglob("*.md") for target in _LINK.findall(page.read_text("utf-8"))]
    local = [(page, target) for page, target in found if target and "://" not in target]
    assert len(local) > 10
    missing = [f"{page.relative_to(ROOT)}: {target}" for page, target in local if not (page.parent / target).exists()]
    assert not missing


def test_the_metrics_page_has_every_figure_and_key(home: Path) -> None:
    page = (DOCS / "reference/metrics.md").read_text(encoding="utf-8")
    result = json.loads((home / "runs/falls/metrics.json").read_text(encoding="utf-8"))
    names = {*result, *result["metrics"], *result["explanations"], "risk_error", "excess_brier"}
    assert len(names) > 30
    for name in names:
        assert f"`{name}`" in page, name
    for key in {key for part in ("metrics", "explanations") for entry in result[part].values() for key in entry}:
        assert f"`{key}`" in page, key


def test_the_artifact_page_has_every_file_and_field(home: Path) -> None:
    page = (DOCS / "reference/artifact.md").read_text(encoding="utf-8")
    run = home / "runs/falls"
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (prediction, *_) = (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    names = {path.name for path in run.iterdir()} | {path.name for path in (run / "model").iterdir()}
    for name in names | set(manifest) | set(json.loads(prediction)):
        assert re.search(rf"`{re.escape(name)}/?`", page), name


def test_the_committed_command_page_is_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts/build_docs.py"))["commands_reference"]()
    committed = (DOCS / "reference/cli.md").read_text(encoding="utf-8")
    assert committed == made, "stale: run `python scripts/build_docs.py`"
    for name in COMMANDS:
        assert f"## `clsgen {name}" in committed
