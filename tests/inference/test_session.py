"""Texts that come and go while others write get the answers that they would get alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tiny
from clsgen.inference.no_repeat import NoRepeat
from clsgen.inference.predictor import Classifier
from clsgen.inference.session import Asked, Session
from clsgen.model import decoder

ROWS = tiny.examples(12)


@pytest.fixture(scope="module", params=["auto", "plain"])
def classifier(request, tmp_path_factory):
    bundle = tiny.bundle_of(tiny.dual(tiny.save("llama", tmp_path_factory.mktemp("llama"))))
    return Classifier(replace(bundle, no_repeat_ngram=4), batch_tokens=300, engine=request.param)


def answers(session, found):
    """Steps until every reason has ended; the whole answers, and the text of each as it came."""
    texts = dict.fromkeys(found, "")
    done = {}
    while session.num_reasons:
        for progress in session.step():
            texts[progress.key] += progress.text
            if progress.prediction is not None:
                done[progress.key] = progress.prediction
    return done, texts


def assert_same(found, alone):
    assert found.probs == pytest.approx(alone.probs, abs=1e-5)
    assert (found.decision, found.explanation, found.stated_label, found.has_ended, found.agreement) == (
        alone.decision,
        alone.explanation,
        alone.stated_label,
        alone.has_ended,
        alone.agreement,
    )


def test_texts_that_come_while_others_write_get_their_own_answers(classifier):
    alone = classifier.predict(ROWS, explain="all")
    session = Session(classifier)
    done, texts = {}, {}
    for start in range(0, 12, 3):  # three more come after every two steps
        rows = range(start, start + 3)
        first = session.read([Asked(row, ROWS[row], row % 3 != 2) for row in rows])
        texts |= dict.fromkeys(rows, "")
        for row in rows:
            assert first[row].probs == pytest.approx(alone[row].probs, abs=1e-5)
            assert first[row].explanation is None
        for _ in range(2):
            for progress in session.step():
                texts[progress.key] += progress.text
                if progress.prediction is not None:
                    done[progress.key] = progress.prediction
    rest, more = answers(session, texts)
    done |= rest
    assert sorted(done) == [row for row in range(12) if row % 3 != 2]
    for row, prediction in done.items():
        assert_same(prediction, alone[row])
        assert texts[row] + more[row] == prediction.explanation
    assert session.step() == []


def test_a_mode_and_a_prior_are_each_texts_own(classifier):
    session = Session(classifier)
    asked = [Asked(0, ROWS[0], True, "decision"), Asked(1, ROWS[0], True, "free", (0.9, 0.1)), Asked(2, ROWS[0])]
    found = session.read(asked)
    done, _ = answers(session, found)
    (alone,) = classifier.predict([ROWS[0]], explain="all", mode="decision")
    assert_same(done[0], alone)
    (prior,) = classifier.predict([ROWS[0]], explain="all", prior=[0.9, 0.1])
    assert_same(done[1], prior)
    assert found[2].probs == pytest.approx(classifier.predict([ROWS[0]])[0].probs, abs=1e-5)


def test_one_that_goes_away_frees_its_place_and_changes_no_other(classifier):
    alone = classifier.predict(ROWS, explain="all")
    session = Session(classifier)
    found = session.read([Asked(row, ROWS[row], True) for row in range(12)])
    session.step()
    for gone in (3, 11, 0):
        session.cancel(gone)
    session.cancel(99)  # nobody's
    done, _ = answers(session, found)
    assert sorted(done) == [row for row in range(12) if row not in (0, 3, 11)]
    for row, prediction in done.items():
        assert_same(prediction, alone[row])


def test_nothing_is_remembered_of_those_who_ended(classifier):
    session = Session(classifier)
    answers(session, session.read([Asked(row, ROWS[row], True) for row in range(6)]))
    pick = session._writer._pick
    assert isinstance(pick, NoRepeat)
    assert not pick._written
    assert not pick._followers
    assert session._writer.num_rows == 0


def test_one_that_comes_after_a_reason_outgrew_its_room_is_answered_too(classifier, monkeypatch):
    monkeypatch.setattr(decoder, "_STEP_TOKENS", 1)  # every step needs more room
    session = Session(classifier)
    for row in range(4):
        done, _ = answers(session, session.read([Asked(row, ROWS[row], True)]))
        assert_same(done[row], classifier.predict([ROWS[row]], explain="all")[0])
