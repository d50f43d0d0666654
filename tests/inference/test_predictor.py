"""`Classifier` and file prediction: order, rows explained, streams, kills."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from clsgen.data.predictions import read_predictions
from clsgen.errors import ArtifactError, ConfigError, DataError, HardwareError
from clsgen.inference import batch as batch_module
from clsgen.inference.batch import predict_file
from clsgen.inference.panel import Panel
from clsgen.inference.predictor import Classifier
from clsgen.model.checkpoint import save_bundle
from clsgen.types import Example


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.bundle_of(tiny.dual(tiny.save("llama", tmp_path_factory.mktemp("llama"))))


@pytest.fixture(scope="module")
def classifier(bundle):
    return Classifier(bundle, batch_tokens=300)


ROWS = tiny.examples(14)


def test_probabilities_are_the_calibrated_logits_in_the_order_of_the_texts(classifier):
    logits = classifier.class_logits(ROWS)
    probs = classifier.predict_proba(ROWS)
    scale = np.array(classifier.bundle.calibrator.slopes) * logits + np.array(classifier.bundle.calibrator.biases)
    by_hand = np.exp(scale) / np.exp(scale).sum(axis=1, keepdims=True)
    bound = 1 / (classifier.bundle.calibrator.num_rows + 2)  # random weights differ between kinds of CPU
    by_hand = np.clip(by_hand, bound, 1 - bound)
    assert np.allclose(probs, by_hand, atol=1e-9)
    for index, row in enumerate(ROWS):
        assert np.allclose(classifier.predict_proba([row.document])[0], probs[index], atol=1e-5)


def test_questions_about_a_document_are_answered_as_alone(classifier):
    questions = ["Is it warm?", "Is it?", "Why?"]
    found = classifier.predict_questions(ROWS[0].document, questions, explain="all")
    assert [each.id for each in found] == ["0", "1", "2"]
    for question, each in zip(questions, found, strict=True):
        (alone,) = classifier.predict([Example("x", ROWS[0].document, question)], explain="all")
        assert alone.probs == pytest.approx(each.probs, abs=1e-5)
        assert alone.explanation == each.explanation


def test_one_string_is_no_list_of_questions(classifier):
    with pytest.raises(ConfigError, match="Put it in a list"):
        classifier.predict_questions("A note.", "Is it?")


def test_an_engine_that_is_not_known_is_refused(bundle):
    with pytest.raises(ConfigError, match="must be auto or plain; got 'fast'"):
        Classifier(bundle, engine="fast")


def test_a_prior_moves_the_odds_by_its_ratio(classifier):
    before = classifier.predict_proba(ROWS[:3])
    prevalence = np.array(classifier.bundle.calibrator.prevalence)
    after = classifier.predict_proba(ROWS[:3], prior=[0.9, 0.1])
    ratio = (0.1 / prevalence[1]) / (0.9 / prevalence[0])
    odds = before[:, 1] / before[:, 0]
    assert np.allclose(after[:, 1] / after[:, 0], odds * ratio, rtol=1e-6)


def test_predictions_carry_decision_threshold_label_and_reason(classifier):
    found = classifier.predict(ROWS, explain="all")
    assert [prediction.id for prediction in found] == [row.id for row in ROWS]
    for row, prediction in zip(ROWS, found, strict=True):
        assert math.isclose(sum(prediction.probs.values()), 1, abs_tol=1e-9)
        assert prediction.decision == ("sun" if prediction.probs["sun"] >= 0.5 else "rain")
        assert (prediction.label, prediction.threshold, prediction.mode) == (row.label, 0.5, "free")
        assert prediction.explanation is not None
        expected = None if prediction.stated_label is None else prediction.stated_label == prediction.decision
        assert prediction.agreement == expected


def test_probability_does_not_depend_on_mode_or_on_explaining(classifier):
    runs = [
        classifier.predict(ROWS, explain="none"),
        classifier.predict(ROWS, explain="all", mode="free"),
        classifier.predict(ROWS, explain="all", mode="decision"),
    ]
    for plain, free, decision in zip(*runs, strict=True):
        assert free.probs == decision.probs
        assert abs(plain.probs["sun"] - free.probs["sun"]) < 1e-5
        assert (plain.explanation, plain.mode) == (None, None)


def test_decision_mode_claims_no_agreement(classifier):
    assert {found.agreement for found in classifier.predict(ROWS[:4], explain="all", mode="decision")} == {None}


def test_reasons_only_where_asked_for(bundle):
    probs = np.array([found.probs["sun"] for found in Classifier(bundle).predict(ROWS)])
    middle = float(np.median(probs))
    near = np.sort(np.abs(probs - middle))
    margin = float(near[len(near) // 2] + near[len(near) // 2 - 1]) / 2  # half of the rows are nearer
    classifier = Classifier(replace(bundle, rule=replace(bundle.rule, threshold=middle)), uncertain_margin=margin)
    found = classifier.predict(ROWS, explain="uncertain")
    explained = [prediction.explanation is not None for prediction in found]
    assert explained == [abs(prediction.probs["sun"] - middle) < margin for prediction in found]
    assert 0 < sum(explained) < len(ROWS)
    found = classifier.predict(ROWS, explain="positive")
    assert [p.explanation is not None for p in found] == [p.decision == "sun" for p in found]
    assert 0 < sum(p.explanation is not None for p in found) < len(ROWS)


def test_a_later_explanation_is_the_same(classifier):
    """explain= for some rows writes what explain="all" writes for them."""
    everything = {p.id: p.explanation for p in classifier.predict(ROWS, explain="all")}
    for prediction in classifier.predict(ROWS, explain="positive"):
        if prediction.explanation is not None:
            assert prediction.explanation == everything[prediction.id]


def test_stream_gives_the_probability_first_then_text_then_the_whole(classifier):
    events = list(classifier.stream(ROWS[0]))
    (whole,) = classifier.predict(ROWS[:1], explain="all")
    assert [event.kind for event in events[:2]] == ["probability", "text"]
    assert events[-1].kind == "done"
    assert events[0].prediction == dataclasses.replace(
        whole, mode=None, explanation=None, stated_label=None, has_ended=None, agreement=None
    )
    assert events[-1].prediction == whole
    written = "".join(event.text for event in events)
    assert str(whole.explanation) in written.replace("\ufffd", "") or "\ufffd" in str(whole.explanation)


def test_a_cut_document_says_how_much_was_cut(classifier):
    (found,) = classifier.predict(["a very long day " * 300])
    assert found.num_document_tokens_cut > 0


def test_a_model_without_explanations_refuses_to_explain(bundle):
    silent = Classifier(replace(bundle, has_explanations=False))
    assert silent.predict(ROWS[:1])[0].explanation is None
    with pytest.raises(ConfigError, match="explain must be none for a model whose language head was not trained"):
        silent.predict(ROWS[:1], explain="all")


def test_positive_needs_two_classes(bundle):
    many = replace(bundle, spec=replace(tiny.SPEC, positive=None))
    with pytest.raises(ConfigError, match="explain: positive needs two classes"):
        Classifier(many).predict(ROWS[:1], explain="positive")


@pytest.mark.parametrize("texts", [["  "], ["fine", ""], [Example("x", "\n")]])
def test_an_empty_text_is_an_error(classifier, texts):
    with pytest.raises(DataError, match="a document must not be empty"):
        classifier.predict_proba(texts)


def test_one_string_is_not_a_list_of_texts(classifier):
    with pytest.raises(DataError, match="texts must be a list of texts; got one string"):
        classifier.predict("Dark clouds.")


def test_any_plain_sequence_of_texts_will_do(classifier):
    import pandas as pd

    texts = ["wet streets", "a clear sky"]
    expected = classifier.predict_proba(texts)
    for other in (tuple(texts), np.array(texts), pd.Series(texts, index=[7, 3]), (text for text in texts)):
        assert np.array_equal(classifier.predict_proba(other), expected)
    assert classifier.predict_proba([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (b"bytes", "got bytes"),
        ({"a": "text"}, "got dict"),
        (np.array([["a", "b"]]), "got ndarray"),
        ([3], "text 0 must be a string or an Example; got int"),
        (["fine", None], "text 1 must be a string or an Example; got NoneType"),
        (["half a pair \ud800"], "must be valid Unicode"),
    ],
)
def test_what_is_no_text_is_refused(classifier, texts, message):
    with pytest.raises(DataError, match=message):
        classifier.predict(texts)


def test_a_data_frame_is_refused(classifier):
    import pandas as pd

    with pytest.raises(DataError, match="got DataFrame. Put it in a list, or pick the column"):
        classifier.predict(pd.DataFrame({"text": ["a"]}))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"explain": "foo"}, "explain must be one of none"), ({"mode": "x"}, "mode must be one of")],
)
def test_unknown_options_are_refused(classifier, options, message):
    with pytest.raises(ConfigError, match=message):
        classifier.predict(["a text"], **options)


@pytest.mark.parametrize("options", [{"batch_tokens": 0}, {"uncertain_margin": 2}])
def test_limits_that_make_no_sense_are_refused(bundle, options):
    with pytest.raises(ConfigError, match="batch_tokens must be 1 or more and uncertain_margin within"):
        Classifier(bundle, **options)


def test_an_unknown_or_absent_device_is_refused(bundle, tmp_path):
    import torch

    save_bundle(bundle, tmp_path / "m")
    with pytest.raises(ConfigError, match="device must be cpu, cuda or mps; got 'foo'"):
        Classifier.from_pretrained(tmp_path / "m", device="foo")
    if not torch.cuda.is_available():
        for kind, given in ((Classifier, tmp_path / "m"), (Panel, {"a": tmp_path / "m"})):
            with pytest.raises(HardwareError, match="one that is here; got 'cuda', and there are 0 of that kind"):
                kind.from_pretrained(given, device="cuda")
    with pytest.raises(ConfigError, match="device must be cpu, cuda or mps; got 'foo'"):
        Panel.from_pretrained({"a": tmp_path / "m"}, device="foo")
    with pytest.raises(HardwareError, match="one that is here; got 'cpu:1', and there are 1 of that kind"):
        Classifier.from_pretrained(tmp_path / "m", device="cpu:1")


def test_a_panel_of_what_is_no_model_says_so(tmp_path):
    with pytest.raises(ArtifactError, match=r"must be a clsgen model directory \(clsgen.json\); it is not"):
        Panel.from_pretrained({"a": tmp_path / "none"})


def test_a_model_without_room_for_a_reason_is_refused_before_it_writes(tmp_path):
    bundle = tiny.bundle_of(tiny.dual(tiny.save("llama", tmp_path / "base")))
    renderer = bundle.renderer
    longest = max(len(renderer.forced("decision", label)) for label in bundle.spec.labels)
    renderer.template = replace(renderer.template, max_explanation_tokens=longest)
    for engine in ("auto", "plain"):
        classifier = Classifier(bundle, engine=engine)
        for mode in ("free", "decision"):
            refused = pytest.raises(ConfigError, match=f"max_explanation_tokens must be above {longest}")
            with refused if mode == "decision" else nullcontext():
                classifier.predict(["sun"], explain="all", mode=mode)
        assert classifier.predict(["sun"])[0].explanation is None


def test_a_model_is_found_from_inside_its_directory(tmp_path, monkeypatch):
    save_bundle(tiny.bundle_of(tiny.dual(tiny.save("llama", tmp_path / "base"))), tmp_path / "m")
    monkeypatch.chdir(tmp_path / "m")
    assert Classifier.from_pretrained(".").labels == tiny.SPEC.labels


# ---- files ----


def test_two_processes_do_not_write_one_output(classifier, tmp_path):
    import fcntl

    partial = tmp_path / "out.jsonl.partial"
    with partial.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ArtifactError, match="another process is writing these predictions"):
            predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="none")
    predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="none")
    assert len(read_predictions(tmp_path / "out.jsonl")) == len(ROWS)


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(batch_module, "WINDOW", 4)


def test_a_file_has_every_row_in_order(classifier, tmp_path):
    predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="none", groups={row.id: "g" for row in ROWS})
    found = read_predictions(tmp_path / "out.jsonl")
    assert [prediction.id for prediction in found] == [row.id for row in ROWS]
    assert {prediction.group for prediction in found} == {"g"}
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_resumed_file_is_the_uninterrupted_one(classifier, tmp_path, small_windows, monkeypatch):
    predict_file(classifier, ROWS, tmp_path / "whole.jsonl", explain="all")
    calls = []

    def stop_after_two(rows, **options):
        calls.append(len(rows))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Classifier.predict(classifier, rows, **options)

    monkeypatch.setattr(classifier, "predict", stop_after_two, raising=False)
    with pytest.raises(KeyboardInterrupt):
        predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="all")
    monkeypatch.undo()
    monkeypatch.setattr(batch_module, "WINDOW", 4)
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(partial.read_bytes() + b'{"id": "half a li')
    assert predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="all") == 8
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_another_runs_partial_file_is_not_continued(classifier, tmp_path, small_windows, monkeypatch):
    monkeypatch.setattr(classifier, "predict", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt), raising=False)
    with pytest.raises(KeyboardInterrupt):
        predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="none")
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match="a partial result of another input, model or setting is in the way"):
        predict_file(classifier, ROWS[:-1], tmp_path / "out.jsonl", explain="none")


def test_another_margin_does_not_go_on_with_a_partial_file(classifier, tmp_path, small_windows, monkeypatch):
    monkeypatch.setattr(classifier, "predict", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt), raising=False)
    with pytest.raises(KeyboardInterrupt):
        predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="uncertain")
    monkeypatch.undo()
    wider = Classifier(classifier.bundle, uncertain_margin=0.3)
    with pytest.raises(ArtifactError, match="a partial result of another input, model or setting is in the way"):
        predict_file(wider, ROWS, tmp_path / "out.jsonl", explain="uncertain")
    assert predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="uncertain") == 0


def test_questions_without_room_are_named_before_a_file_is_touched(classifier, tmp_path, small_windows):
    long = [replace(row, question="and why " * 3000) for row in ROWS[6:8]]
    with pytest.raises(DataError, match=rf"row {long[0].id} \(and 1 other rows\): instruction and question must leave"):
        predict_file(classifier, [*ROWS[:6], *long], tmp_path / "out.jsonl", explain="none")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_keeps_what_was_done(classifier, tmp_path, small_windows, monkeypatch):
    original = os.fsync
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) == 3:  # the seal, a window, and no more
            raise OSError("no space left on device")
        original(descriptor)

    monkeypatch.setattr(batch_module.os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"predictions must be written; no space left.*out\.jsonl\.partial"):
        predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="none")
    monkeypatch.undo()
    monkeypatch.setattr(batch_module, "WINDOW", 4)
    assert predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="none") >= 4
    assert len(read_predictions(tmp_path / "out.jsonl")) == len(ROWS)


@pytest.mark.parametrize("options", [{"prior": [0.5]}, {"prior": [0.2, 0.2]}])
def test_options_that_do_not_suit_the_model_touch_no_file(classifier, tmp_path, options):
    with pytest.raises(ConfigError, match="prior must be 2 positive shares that sum to 1"):
        predict_file(classifier, ROWS, tmp_path / "out.jsonl", explain="none", **options)
    assert not list(tmp_path.iterdir())


def test_restricted_output_is_the_owners_alone(bundle, tmp_path):
    secret = Classifier(replace(bundle, spec=replace(tiny.SPEC, is_restricted=True)))
    predict_file(secret, ROWS[:2], tmp_path / "out.jsonl", explain="none")
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_kill_nine_loses_no_row(tmp_path):
    """A real process, killed for real, several times; then run to its end."""
    built = tiny.dual(tiny.save("llama", tmp_path / "base"))
    save_bundle(tiny.bundle_of(built), tmp_path / "model")
    rows = tiny.examples(120)
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": r.document, "label": r.label, "id": r.id}) + "\n" for r in rows))
    code = (
        "import clsgen.inference.batch as b, sys; b.WINDOW = 10\n"
        "import clsgen.cli.main as m; sys.argv = ['clsgen', 'predict', *sys.argv[1:]]; m.main()"
    )
    command = [sys.executable, "-c", code, str(source), "-m", str(tmp_path / "model"), "--id", "id", "--explain", "all"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "-o", str(tmp_path / "whole.jsonl")], check=True, env=environment)
    partial, output = tmp_path / "out.jsonl.partial", tmp_path / "out.jsonl"
    killed, last_size = 0, 0
    while killed < 2:
        process = subprocess.Popen([*command, "-o", str(output)], env=environment)
        while process.poll() is None:
            if partial.exists() and partial.stat().st_size > last_size:
                last_size = partial.stat().st_size
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                break
            time.sleep(0.005)
        assert not output.exists(), "ended before it could be killed"
    done = subprocess.run([*command, "-o", str(output)], check=True, env=environment, capture_output=True, text=True)
    assert "found done" in done.stdout
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert [p.id for p in read_predictions(output)] == [row.id for row in rows]
    assert not Path(partial).exists()
