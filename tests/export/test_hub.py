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
from clsgen import Classifier, Panel
from clsgen.artifacts import compare_manifest
from clsgen.config.load import config_of
from clsgen.errors import ArtifactError, ConfigError, HubError, RestrictedError
from clsgen.export.hub_card import Licence
from clsgen.model.checkpoint import save_bundle
from clsgen.model.hub import fetched
from clsgen.pipeline.calibrate import calibrate_run, changed, current_settings
from clsgen.pipeline.card import licence_of
from clsgen.pipeline.evaluate import evaluate_run
from clsgen.pipeline.export import export_run
from clsgen.pipeline.folder import RunFolder
from clsgen.pipeline.push import PushSettings, push
from clsgen.pipeline.train import train_run
from hub_server import Hub, running_hub
from served import Server

# what httpx2 says of huggingface_hub's own uploads
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

TEXTS = ["We saw wet streets.", "We saw a clear sky."]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that was trained and judged."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [
        {"text": row.document, "label": row.label, "why": row.explanation, "day": row.id} for row in tiny.examples(160)
    ]
    (folder / "weather.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(folder / "weather.jsonl"), "columns": {"explanation": "why", "group": ["day"]}}
    run = train_run(
        config_of(
            {**tiny.SCRATCH, "data": data, "evaluate": {"num_bootstrap": 100}, "output": str(folder / "run")},
            where="test",
        )
    )
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


def test_the_command_pushes_and_another_machine_loads_and_serves_the_same_model(run, tmp_path, monkeypatch):
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
        monkeypatch.chdir(tmp_path)
        server = Server.start(Path("org/weather"), tmp_path, "--revision", revision, **environment)
        try:
            with server.client() as client:
                answer = client.post("/v1/classify", json={"texts": TEXTS}).json()
        finally:
            assert server.stop() == 0, server.log
        served = [[row["probabilities"][label] for label in ("rain", "sun")] for row in answer["results"]]
        np.testing.assert_allclose(served, json.loads(expected), atol=1e-6)


def test_commands_take_a_model_by_its_name_on_the_hub(run, hub, command, tmp_path):
    first = push(run, PushSettings("org/weather"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text, "answer": "rain"}) + "\n" for text in TEXTS))

    def predicted(name: str, *options: object) -> list[dict[str, Any]]:
        file = tmp_path / name
        ran = command("predict", rows, "-o", file, "--label", "answer", "--explain", "all", *options)
        assert ran.code == 0, ran.err
        return [json.loads(line) for line in file.read_text().splitlines()]

    expected = predicted("here.jsonl", "-m", run)
    assert predicted("hub.jsonl", "-m", "org/weather") == expected
    calibrate_run(run, settings=changed("test", current_settings(RunFolder(run)), threshold="sensitivity=0.9"))
    push(run, PushSettings("org/weather"))
    assert predicted("newest.jsonl", "-m", "org/weather")[0]["threshold"] != expected[0]["threshold"]
    assert predicted("first.jsonl", "-m", "org/weather", "--revision", first.revision) == expected
    assert command("eval", tmp_path / "first.jsonl").code == 0
    ran = command("bench", "org/weather", "--num", 2, "--runs", 1, "--revision", first.revision)
    assert (ran.code, "2 texts of" in ran.out) == (0, True), ran.err
    (by_name,) = Panel.from_pretrained({"wet": "org/weather"}).predict(TEXTS[:1])["wet"]
    assert by_name.probs == pytest.approx(expected[0]["probs"], abs=1e-6)
    for name in ("predict", "bench", "serve"):
        given = (rows, "-o", tmp_path / "none.jsonl", "-m", run) if name == "predict" else (run,)
        ran = command(name, *given, "--revision", "main")
        assert (ran.code, "revision must be left out for a model directory" in ran.err) == (2, True), ran.err


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


def test_nothing_that_lies_beside_the_model_is_sent_and_no_text_is(run, hub):
    """Wherever texts of a run may lie, and what git and the hub's client keep within a folder that they fetched."""
    rows = [row for role in ("train", "validation", "calibration", "test") for row in RunFolder(run).rows(role)]
    texts = [row.document for row in rows] + [str(row.explanation) for row in rows]
    written = [json.loads(line)["explanation"] for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert all(written)
    spilt = "\n".join(texts)
    beside = ["review.db", "server.log", "evidence.jsonl", "teacher/answers.sqlite", "checkpoints/rows.txt"]
    kept = [".git/config", ".git/objects/pack/pack-1.pack", ".gitattributes", ".cache/huggingface/x"]
    for name in (*beside, *(f"model/{name}" for name in kept)):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(spilt)
    push(run, PushSettings("org/weather"))
    files = hub.files("org/weather")
    model = {path.name for path in (run / "model").iterdir() if path.name not in (".git", ".cache")}
    assert set(files) == model | {"reliability.png"}
    for name, content in files.items():
        found = [text for text in (*texts, *written) if text.encode() in content]
        assert not found, f"{name}: {found[:3]}"


def test_a_model_that_was_fetched_from_the_hub_is_pushed_whole(run, hub):
    push(run, PushSettings("org/weather"))
    kept = fetched("org/weather")
    assert any(path.is_symlink() for path in kept.iterdir()), "the cache holds links to its files"
    push(kept, PushSettings("org/copy"))
    sent, copy = hub.files("org/weather"), hub.files("org/copy")
    assert set(copy) == set(sent)
    assert [name for name in sent if sent[name] != copy[name]] == ["README.md", "manifest.json"]
    expected = Classifier.from_pretrained(run).predict_proba(TEXTS)
    assert (Classifier.from_pretrained("org/copy").predict_proba(TEXTS) == expected).all()


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
    for name, content in (("yaml", b"---\n: : [\n---\n"), ("list", b"---\n- mit\n---\n")):
        hub.add(f"meta/{name}", {"README.md": content})
        assert licence_of({"name": f"meta/{name}"}) is None
    hub.add("meta/odd", {"README.md": b"---\nlicense: mit\nmodel-index: 3\n---\n"})
    assert licence_of({"name": "meta/odd"}) == Licence("mit")


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


@pytest.fixture(scope="module")
def restricted(trained) -> Path:
    """A run of restricted rows, whose model is whole."""
    data = RunFolder(trained).config().data.model_copy(update={"restricted": True})
    settings = {**tiny.SCRATCH, "train": {**tiny.SCRATCH["train"], "max_steps": 1}}
    where = {"data": data.model_dump(mode="json"), "output": str(trained.parent / "restricted")}
    return train_run(config_of({**settings, **where}, where="test"))


@pytest.mark.parametrize("form", ["model", "causal-lm", "folded"])
def test_what_is_trained_from_a_restricted_model_or_an_export_of_it_is_restricted(
    restricted, trained, hub, tmp_path, form
):
    base = restricted / "model" if form == "model" else export_run(restricted, form, tmp_path / form).folder
    data = RunFolder(trained).config().data
    assert not data.restricted
    values = {
        "model": {**tiny.SCRATCH["model"], "init": "pretrained", "backbone": str(base), "scratch": {}},
        "train": {**tiny.SCRATCH["train"], "max_steps": 1},
        "data": data.model_dump(mode="json"),
        "output": str(tmp_path / "run"),
    }
    made = train_run(config_of(values, where="test"))
    assert (made / "data" / "train.jsonl").stat().st_mode & 0o077 == 0
    with pytest.raises(RestrictedError, match="a model made from restricted data must stay"):
        push(made, PushSettings("org/weather"))
    assert hub.asked == []


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
