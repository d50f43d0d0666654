"""Pushing to, and loading from, a stand-in for the hub over real HTTP, with huggingface_hub's own client between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants

import hub_server
import tiny
from clsgen import Classifier
from clsgen.artifacts import compare_manifest
from clsgen.config.load import config_of
from clsgen.errors import ArtifactError, ConfigError, HubError
from clsgen.export.hub_card import Licence
from clsgen.model.checkpoint import save_bundle
from clsgen.pipeline.calibrate import calibrate_run, changed, current_settings
from clsgen.pipeline.card import licence_of
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.push import PushSettings, push
from clsgen.pipeline.train import train_run
from hub_server import Hub, running_hub

# what httpx2 says of huggingface_hub's own uploads
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

TEXTS = ["We saw wet streets.", "We saw a clear sky."]
SETTINGS = {
    "model": {
        "init": "scratch",
        "tuning": "full",
        "max_length_tokens": 128,
        "max_explanation_tokens": 64,
        "scratch": {"vocabulary": 400, "width": 32, "num_layers": 1, "num_heads": 2},
    },
    "train": {
        "max_steps": 30,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "head_learning_rate": 5e-2,
        "precision": "float32",
        "num_monitor_explanations": 0,
        "patience": None,
    },
    "evaluate": {"num_bootstrap": 100},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that was trained and judged."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [
        {"text": row.document, "label": row.label, "why": row.explanation, "day": row.id} for row in tiny.examples(160)
    ]
    (folder / "weather.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(folder / "weather.jsonl"), "columns": {"explanation": "why", "group": ["day"]}}
    run = train_run(config_of({**SETTINGS, "data": data, "output": str(folder / "run")}, where="test"))
    evaluate_run(run)
    return run


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """The stand-in, asked by this process with a token that may write, and an empty cache."""
    with running_hub() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", found.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        monkeypatch.chdir(tmp_path)  # where no folder is called org
        yield found


# ---- the whole way, in processes of its own ----


def test_the_command_pushes_and_another_machine_loads_the_same_model(run, tmp_path):
    with running_hub() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": hub_server.TOKEN,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
        }
        environment.pop("HF_HUB_DISABLE_TELEMETRY", None)

        def ran(*arguments: object, **changes: str) -> str:
            command = [sys.executable, *map(str, arguments)]
            done = subprocess.run(
                command, env={**environment, **changes}, capture_output=True, text=True, check=False, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        told = ran("-m", "clsgen", "push", run, "org/weather")
        revision = list(hub.repos["org/weather"].commits)[-1]
        assert hub.repos["org/weather"].is_private
        assert f"{hub.url}/org/weather (private), commit {revision}" in told
        # the command sends no versions of installed packages, as huggingface_hub does by itself
        assert hub.asked
        assert not any("torch" in agent for _, _, agent in hub.asked)
        code = (
            "import sys; from clsgen import Classifier; "
            "model = Classifier.from_pretrained('org/weather', revision=sys.argv[1]); "
            "print(model.predict_proba(sys.argv[2:]).tolist())"
        )
        expected = f"{Classifier.from_pretrained(run).predict_proba(TEXTS).tolist()}"
        assert ran("-c", code, revision, *TEXTS).strip() == expected
        num_asked = len(hub.asked)
        assert ran("-c", code, revision, *TEXTS, HF_HUB_OFFLINE="1").strip() == expected
        assert len(hub.asked) == num_asked, "the cache was not enough"


# ---- what is pushed ----


def test_what_arrives_is_the_model_its_card_and_nothing_else(run, hub, tmp_path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    pushed = push(run, PushSettings("org/weather"))
    assert (pushed.url, pushed.is_private) == (f"{hub.url}/org/weather", True)
    files = hub.files("org/weather")
    model = {path.name for path in (run / "model").iterdir()}
    assert set(files) == model | {"reliability.png", ".gitattributes"}
    assert all(files[name] == (run / "model" / name).read_bytes() for name in model - {"README.md", "manifest.json"})
    for name, content in files.items():
        (tmp_path / "clone" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "clone" / name).write_bytes(content)
    assert not any(compare_manifest(tmp_path / "clone"))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert push(run / "model", PushSettings("org/weather")).revision == pushed.revision  # nothing new to commit
    assert not list(run.glob(".push-*"))


def test_the_card_says_what_the_run_measured_and_no_text(run, hub):
    push(run, PushSettings("org/weather", licence="apache-2.0"))
    card = ModelCard(hub.files("org/weather")["README.md"].decode())
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "clsgen"
    metrics = json.loads((run / "metrics.json").read_text())
    found = {result.metric_name.partition(",")[0]: result for result in card.data.eval_results}
    assert {"auroc", "brier", "ece", "sensitivity"} <= set(found)
    for name, result in found.items():
        entry = metrics["metrics"].get(name) or metrics["explanations"][name]
        assert result.metric_value == pytest.approx(entry["value"], abs=1e-4)
        assert result.dataset_split == "test"
        if entry["low"] is not None:
            assert result.metric_name.endswith(f"95% interval {entry['low']:.4f} to {entry['high']:.4f}")
            assert f"{entry['low']:.3f} to {entry['high']:.3f} | {entry['n']} |" in card.text
    assert found["auroc"].metric_type == "roc_auc"
    assert "![Reliability" in card.text
    assert hub.files("org/weather")["reliability.png"].startswith(b"\x89PNG")
    rows = [row for role in ("train", "validation", "calibration", "test") for row in RunFolder(run).rows(role)]
    assert len(rows) == 160
    assert not any(row.document in card.content or str(row.explanation) in card.content for row in rows)
    for heading in ("Use", "Data", "Figures", "Limits", "Licence"):
        assert f"## {heading}\n" in card.text
    manifest = json.loads((run / "manifest.json").read_text())
    for role, counts in manifest["rows"].items():
        assert f"| {role} | {sum(counts.values())} | {counts['rain']} | {counts['sun']} |" in card.text
    assert str(run) not in card.content


def test_a_model_without_figures_or_run_says_so(run, hub, tmp_path):
    (run / "metrics.json").unlink()
    told: list[str] = []
    push(run, PushSettings("org/weather"), notify=told.append)
    assert told == ["The model was not judged since it was made: the card has no figures. Run `clsgen eval` first."]
    card = hub.files("org/weather")["README.md"].decode()
    assert "was not judged on held-out rows" in card
    assert "model-index" not in card
    assert "reliability.png" not in card
    alone = shutil.copytree(run / "model", tmp_path / "alone")
    push(alone, PushSettings("org/alone"))
    assert "pushed without its run" in hub.files("org/alone")["README.md"].decode()


def test_a_later_push_is_another_revision_and_removes_what_is_gone(run, hub):
    first = push(run, PushSettings("org/weather", with_data=True))
    sent = hub.files("org/weather")
    for role in ("train", "validation", "calibration", "test"):
        assert sent[f"data/{role}.jsonl"] == (run / "data" / f"{role}.jsonl").read_bytes()
    assert sent["data/predictions.jsonl"] == (run / "predictions.jsonl").read_bytes()
    hub.add("org/weather", {**sent, "mine.txt": b"written by hand"})
    calibrate_run(run, settings=changed("test", current_settings(RunFolder(run)), threshold="sensitivity=0.9"))
    second = push(run, PushSettings("org/weather"))
    now = hub.files("org/weather")
    assert not [name for name in now if name.startswith("data/")]
    assert "reliability.png" not in now  # not judged since
    assert now["mine.txt"] == b"written by hand"
    old, new = (Classifier.from_pretrained("org/weather", revision=each.revision) for each in (first, second))
    assert old.bundle.rule.policy == "max_f1"
    assert new.bundle.rule.policy == "sensitivity=0.9"
    assert Classifier.from_pretrained("org/weather").bundle.rule == new.bundle.rule
    assert (old.predict_proba(TEXTS) == Classifier.from_pretrained(run).predict_proba(TEXTS)).all()


def test_public_is_asked_for_and_visibility_is_never_changed_in_passing(run, hub):
    push(run, PushSettings("org/open", is_public=True))
    assert not hub.repos["org/open"].is_private
    with pytest.raises(HubError, match=r"must be private; it is public\. Add --public"):
        push(run, PushSettings("org/open"))
    push(run, PushSettings("org/closed"))
    with pytest.raises(HubError, match=r"must be public; it is private\. Make it public on the hub first"):
        push(run, PushSettings("org/closed", is_public=True))


# ---- bases ----


def test_a_base_that_is_a_folder_here_must_be_named_as_the_hub_knows_it(hub, tmp_path):
    base = tiny.save("llama", tmp_path / "secret place" / "base")
    save_bundle(tiny.bundle_of(tiny.dual(base)), tmp_path / "model")
    expected = Classifier.from_pretrained(tmp_path / "model", base=str(base)).predict_proba(TEXTS)
    with pytest.raises(ConfigError, match=r"must be one that others can have; .*--base ORG/NAME"):
        push(tmp_path / "model", PushSettings("org/adapter"))
    hub.add(
        "meta/base",
        {path.name: path.read_bytes() for path in base.iterdir()} | {"README.md": b"---\nlicense: mit\n---\n"},
    )
    push(tmp_path / "model", PushSettings("org/adapter", base="meta/base"))
    files = hub.files("org/adapter")
    assert not any(b"secret" in content for content in files.values())
    record = json.loads(files["clsgen.json"])["base"]
    assert (record["name"], record["relative_path"]) == ("meta/base", None)
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "meta/base"
    card = ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.base_model) == ("mit", "meta/base")
    assert json.loads((tmp_path / "model" / "clsgen.json").read_text())["base"]["relative_path"] is not None
    loaded = Classifier.from_pretrained("org/adapter", base=str(base))
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), expected)


def test_the_licence_is_that_of_the_base(hub):
    assert licence_of({"name": "embedded"}) == Licence("cc-by-sa-4.0")
    assert licence_of({"name": "scratch"}) is None
    assert licence_of({"name": "somewhere"}) is None
    hub.add("meta/llama", {"README.md": b"---\nlicense: other\nlicense_name: l3\nlicense_link: https://l3\n---\nHi"})
    assert licence_of({"name": "meta/llama", "revision": None}) == Licence("other", "l3", "https://l3")
    hub.add("meta/bare", {"README.md": b"no front matter"})
    assert licence_of({"name": "meta/bare"}) is None
    assert licence_of({"name": "meta/nobody"}) is None


# ---- what is refused, before anything is sent ----


def edit(file: Path, change: Any) -> None:
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "restrict",
    [
        lambda run: edit(run / "model/clsgen.json", lambda record: record["spec"].update(is_restricted=True)),
        lambda run: edit(run / "manifest.json", lambda record: record.update(restricted=True)),
        lambda run: (run / "config.yaml").write_text(
            (run / "config.yaml").read_text().replace("restricted: false", "restricted: true")
        ),
    ],
    ids=["model", "record", "settings"],
)
@pytest.mark.parametrize("options", [(), ("--include-data",), ("--public",)])
def test_a_restricted_model_is_never_pushed(run, hub, command, restrict, options):
    restrict(run)
    for place in (run, run / "model"):
        ran = command("push", place, "org/weather", *options)
        assert ran.code == 2
        assert "a model made from restricted data must stay where its access agreement holds" in ran.err
    assert hub.asked == []
    assert not list(run.glob(".push-*"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda run: (run / "model/train.jsonl").write_text("{}\n"),
            r"got extra: train\.jsonl\. .* --include-data alone",
        ),
        (lambda run: (run / "model/head.safetensors").unlink(), r"got missing: head\.safetensors"),
        (lambda run: (run / "model/README.md").write_text("A text."), r"got altered: README\.md"),
        (lambda run: shutil.rmtree(run / "model"), "must be a model directory, or the run that holds it"),
    ],
)
def test_files_that_were_not_saved_with_the_model_are_refused(run, hub, spoil, message):
    spoil(run)
    with pytest.raises(ArtifactError, match=message):
        push(run, PushSettings("org/weather"))
    assert hub.asked == []


def test_mistakes_are_told_before_anything_is_sent(run, hub, tmp_path):
    with pytest.raises(ConfigError, match="the name must be ORG/NAME; got 'weather'"):
        push(run, PushSettings("weather"))
    with pytest.raises(ConfigError, match="--base must be the hub id of a base that was trained on as a local copy"):
        push(run, PushSettings("org/weather", base="meta/base"))
    alone = shutil.copytree(run / "model", tmp_path / "alone")
    with pytest.raises(ConfigError, match="--include-data needs the run"):
        push(alone, PushSettings("org/weather", with_data=True))
    shutil.copytree(run / "model", run / "questions" / "fell" / "model")
    (run / "config.yaml").write_text("data: {train: x, questions: {fell: {label: y}}}\n")
    with pytest.raises(ConfigError, match=r"a model each\. Push them one at a time: .*fell"):
        push(run, PushSettings("org/weather"))
    assert hub.asked == []


# ---- what the hub refuses ----


def test_refusals_of_the_hub_say_what_to_do(run, hub, monkeypatch):
    with pytest.raises(HubError, match=r"the hub answered 403: .*under other.*hf auth login"):
        push(run, PushSettings("other/weather"))
    hub.add("org/weather", {".gitignore": b"template.json"}, is_private=True)
    with pytest.raises(HubError, match=r"the hub must take every file; it left out template\.json"):
        push(run, PushSettings("org/weather"))
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(HubError, match=r"org/weather must take the model; the hub answered 401: .*hf auth login"):
        push(run, PushSettings("org/weather"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the hub can't be reached"):
        push(run, PushSettings("org/weather"))


def test_loading_what_can_not_be_had_says_so(run, hub, monkeypatch, tmp_path):
    push(run, PushSettings("org/weather"))
    with pytest.raises(HubError, match="it is no folder here, and the hub has no such model for you"):
        Classifier.from_pretrained("org/nothing")
    with pytest.raises(HubError, match="revision must be a branch, tag or commit of it"):
        Classifier.from_pretrained("org/weather", revision="v9")
    hub.add("org/other", {"config.json": b"{}"})
    with pytest.raises(HubError, match="must be one of clsgen's"):
        Classifier.from_pretrained("org/other")
    hub.add("org/bad", hub.files("org/weather") | {"decision.json": b"{}"})
    with pytest.raises(ArtifactError, match=r"altered: decision\.json"):
        Classifier.from_pretrained("org/bad")
    hub.add("org/escape", {"manifest.json": json.dumps({"../../escape": "x"}).encode()})
    with pytest.raises(ArtifactError, match="must map relative paths"):
        Classifier.from_pretrained("org/escape")
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another cache"))
    with pytest.raises(HubError, match="the hub has no such model for you"):
        Classifier.from_pretrained("org/weather")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="nor in the hub's cache, and the hub can't be reached"):
        Classifier.from_pretrained("org/weather")


def test_a_path_that_is_no_folder_is_not_looked_for_on_the_hub_where_its_first_part_is_one(run, hub):
    (run.parent / "runs").mkdir()
    for path in ("runs/mine", Path("org/weather"), "./org/weather", "a/b/c"):
        with pytest.raises(ArtifactError, match="must be a clsgen model directory"):
            Classifier.from_pretrained(path)
    with pytest.raises(ConfigError, match="revision must be left out for a model directory"):
        Classifier.from_pretrained(run, revision="main")
    assert hub.asked == []
