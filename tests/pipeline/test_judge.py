"""A judge over real HTTP: what it sees, what it says, how steady it is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from chat_server import Answer, ChatServer, completion
from clsgen.config.load import save_config
from clsgen.config.run import RunConfig
from clsgen.data.predictions import to_record
from clsgen.errors import ArtifactError, RestrictedError, TeacherError
from clsgen.pipeline.endpoint import Endpoint
from clsgen.pipeline.judge import judge_run
from results import BINARY, SETTINGS, rows_of


def run_folder(folder: Path, *, is_restricted: bool = False, with_texts: bool = True) -> Path:
    """Files of a run that a judge reads."""
    (folder / "model").mkdir(parents=True)
    spec = asdict(BINARY) | {"labels": list(BINARY.labels), "is_restricted": is_restricted}
    del spec["proxies"]
    (folder / "model" / "clsgen.json").write_text(json.dumps({"spec": spec}))
    values = {"data": {"task": "clinifact"}, "model": {"backbone": "embedded"}, "evaluate": SETTINGS.model_dump()}
    save_config(RunConfig.model_validate(values), folder / "config.yaml")
    predictions, _ = rows_of(BINARY)
    records = [to_record(row) for row in predictions]
    if not with_texts:
        records = [record | {"explanation": None} for record in records]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def verdict(label: str, readable: bool = True) -> Answer:
    return Answer(completion(json.dumps({"label": label, "readable": readable})))


def test_figures_are_those_of_the_answers(tmp_path):
    run = run_folder(tmp_path / "run")
    said: dict[tuple[str, int], str | None] = {}

    def script(body, number):
        text = body["messages"][0]["content"]
        kind = len(said) % 5
        answer = {0: "yes", 1: "yes", 2: "no", 3: "no", 4: None}[kind]
        said[text, number] = answer
        return Answer(completion("Hard to say.")) if answer is None else verdict(answer, readable=kind != 2)

    with ChatServer(script) as server:
        result = judge_run(run, Endpoint(server.endpoint, "a-judge", concurrency=1), num_rows=60)
        assert server.num_requests == 120
        bodies = server.bodies
    assert {body["seed"] for body in bodies} == {0, 1}
    assert all("was well and went home today" in body["messages"][0]["content"] for body in bodies)
    assert not any("Nothing else was seen" in body["messages"][0]["content"] for body in bodies), "no document"
    records = [json.loads(line) for line in (run / "judge.jsonl").read_text().splitlines()]
    assert len(records) == 60
    first = [(record["verdicts"][0], record["decision"]) for record in records if record["verdicts"][0]]
    both = [record["verdicts"] for record in records if all(record["verdicts"])]
    figures = {name: entry["value"] for name, entry in result["figures"].items()}
    assert figures["judge_agreement"] == pytest.approx(np.mean([v["label"] == decided for v, decided in first]))
    assert figures["judge_readability"] == pytest.approx(np.mean([v["is_readable"] for v, _ in first]))
    assert figures["judge_self_agreement"] == pytest.approx(np.mean([a["label"] == b["label"] for a, b in both]))
    assert figures["judge_unparsed"] == pytest.approx(1 - len(first) / 60)
    assert 0 < figures["judge_self_agreement"] < 1
    assert result["failures"] == {"unparsed": 24}
    assert json.loads((run / "judge.json").read_text()) == result
    from sklearn.metrics import cohen_kappa_score

    kappa = cohen_kappa_score([v["label"] for v, _ in first], [decided for _, decided in first])
    assert figures["judge_kappa"] == pytest.approx(kappa)


def test_the_command_shows_the_table(tmp_path, command):
    run = run_folder(tmp_path / "run")
    with ChatServer(lambda body, number: verdict("yes")) as server:
        ran = command("judge", run, "--endpoint", server.endpoint, "--model", "a-judge", "--rows", 20)
    assert ran.code == 0, ran.err
    assert "a-judge on 20 explanations" in ran.out
    assert "judge_self_agreement" in ran.out


def test_restricted_reasons_go_nowhere_else(tmp_path):
    run = run_folder(tmp_path / "run", is_restricted=True)
    with pytest.raises(RestrictedError):
        judge_run(run, Endpoint("https://api.example.com/v1", "m"))
    with ChatServer(lambda body, number: verdict("yes")) as server:
        judge_run(run, Endpoint(server.endpoint, "m"), num_rows=5)
    assert (run / "judge.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_run_without_explanations_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="must hold explanations"):
        judge_run(run_folder(tmp_path / "run", with_texts=False), Endpoint("http://127.0.0.1:1/v1", "m"))
    (tmp_path / "run" / "predictions.jsonl").unlink()
    with pytest.raises(ArtifactError, match="Run: clsgen eval"):
        judge_run(tmp_path / "run", Endpoint("http://127.0.0.1:1/v1", "m"))


def test_a_judge_that_gives_no_verdict_leaves_the_old_ones(tmp_path):
    run = run_folder(tmp_path / "run")
    with ChatServer(lambda body, number: verdict("yes")) as server:
        judge_run(run, Endpoint(server.endpoint, "m"), num_rows=5)
    before = (run / "judge.json").read_text()
    with (
        ChatServer(lambda body, number: Answer(completion("Hm."))) as server,
        pytest.raises(TeacherError, match=r"none of 10 is \(unparsed 10\). Nothing was written"),
    ):
        judge_run(run, Endpoint(server.endpoint, "m"), num_rows=5)
    assert (run / "judge.json").read_text() == before
