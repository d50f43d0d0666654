"""Evidence removal: the right sentences are cut, controls are like them, and a planted cause shows."""

from __future__ import annotations

import numpy as np
import pytest

from clsgen.config.prediction import EvaluateSettings
from clsgen.data.explanations import grounding
from clsgen.errors import DataError
from clsgen.evaluation.measure_evidence import evidence_figures
from clsgen.inference.perturb import NUM_CONTROLS, Variants, perturbed_records, variants
from clsgen.types import Example, Prediction

SENTENCES = [
    f"Sentence number {word} stands here alone."
    for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")
]
DOCUMENT = " ".join(SENTENCES)
SETTINGS = EvaluateSettings(num_bootstrap=200)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_quoted_sentence_is_cut_and_nothing_else():
    found = variants(DOCUMENT, 'The text states: "sentence number  THREE stands here".', rng())
    assert isinstance(found, Variants)
    assert found.without_evidence == " ".join(SENTENCES[:2] + SENTENCES[3:])
    assert len(found.controls) == NUM_CONTROLS
    for control in found.controls:
        assert SENTENCES[2] in control
        assert sum(sentence in control for sentence in SENTENCES) == len(SENTENCES) - 1
    assert len(set(found.controls)) > 1


def test_two_quotes_and_one_over_two_sentences():
    found = variants(DOCUMENT, '"number one stands here" and "here alone. Sentence number five stands"', rng())
    assert found.without_evidence == " ".join([SENTENCES[1], SENTENCES[2], *SENTENCES[5:]])
    assert all(sum(sentence in control for sentence in SENTENCES) == 5 for control in found.controls)


@pytest.mark.parametrize(
    "quote",
    [
        "the patient's gait was unsteady",
        "gait was unsteady today.",
        "gait was ... and she fell",
    ],
)
def test_what_counts_as_grounded_is_cut(quote):
    document = (
        "She lives alone. The patient’s gait was unsteady today, and she fell. No fracture was seen. She went home."
    )
    assert grounding(f'It says "{quote}"', document) == (1, 1)
    found = variants(document, f'It says "{quote}"', rng())
    assert isinstance(found, Variants)
    assert found.without_evidence == "She lives alone. No fracture was seen. She went home."


def test_controls_are_near_in_length_and_place():
    short = [f"Short sentence {n} is here." for n in range(14)]
    long = [
        f"This sentence number {n} is much longer than others, as it goes on and on for many words." for n in range(6)
    ]
    document = " ".join(short + long)
    found = variants(document, '"Short sentence 4 is here"', rng(), num_controls=50)
    cut = [next(s for s in short + long if s not in control) for control in found.controls]
    assert all(sentence in short for sentence in cut)


@pytest.mark.parametrize(
    ("explanation", "reason"),
    [
        ("No quote is here.", "no_quote"),
        ('It says "something that is not there".', "not_in_document"),
        (f'"{SENTENCES[0]} {SENTENCES[1]} {SENTENCES[2]}"', "no_other_sentence"),
    ],
)
def test_rows_without_variants_say_why(explanation, reason):
    document = " ".join(SENTENCES[:4]) if reason == "no_other_sentence" else DOCUMENT
    assert variants(document, explanation, rng()) == reason


class Planted:
    """Stands for a model whose probability rests on one sentence: not the thing under test, which cuts sentences."""

    labels = ("no", "yes")

    def predict_proba(self, texts):
        prob = np.array([0.9 if SENTENCES[2] in text.document else 0.4 for text in texts])
        return np.stack([1 - prob, prob], axis=1)


def prediction(index: int, quoted: str) -> Prediction:
    return Prediction(
        f"row{index}", {"no": 0.1, "yes": 0.9}, (), "yes", explanation=f'It states "{quoted}".', mode="free",
        has_ended=True,
    )  # fmt: skip


def test_a_reason_that_quotes_the_cause_moves_the_probability_more_than_others():
    examples = [Example(f"row{i}", DOCUMENT) for i in range(8)]
    right = [prediction(i, SENTENCES[2]) for i in range(8)]
    records, skipped = perturbed_records(Planted(), examples, right)
    assert skipped == {}
    assert all(record["without_evidence"] == 0.4 and set(record["controls"]) == {0.9} for record in records)
    groups = {row.id: row.id for row in right}
    found = evidence_figures(records, groups, skipped, settings=SETTINGS)["figures"]
    assert found["evidence_removal"]["value"] == pytest.approx(0.5)
    assert found["control_drop"]["value"] == pytest.approx(0.0)
    wrong = [prediction(i, SENTENCES[0]) for i in range(7)] + [prediction(7, "never said by anybody here")]
    records, skipped = perturbed_records(Planted(), examples, wrong)
    assert skipped == {"not_in_document": 1}
    removal = evidence_figures(records, groups, skipped, settings=SETTINGS)["figures"]["evidence_removal"]
    expected = np.mean([np.mean(record["controls"]) - record["without_evidence"] for record in records])
    assert removal["value"] == pytest.approx(expected)
    assert removal["value"] < 0
    assert removal["n"] == 7


def test_the_same_seed_cuts_the_same_and_no_row_depends_on_others():
    examples = [Example(f"row{i}", DOCUMENT) for i in range(4)]
    rows = [prediction(i, SENTENCES[i]) for i in range(4)]
    all_records, _ = perturbed_records(Planted(), examples, rows)
    alone = [perturbed_records(Planted(), examples, [row])[0][0] for row in rows]
    assert all_records == alone
    assert perturbed_records(Planted(), examples, rows, seed=1)[0] != all_records


def test_no_record_gives_null_figures_and_a_record_without_controls_is_refused():
    found = evidence_figures([], {}, {"no_quote": 3}, settings=SETTINGS)
    assert found["figures"]["evidence_removal"]["value"] is None
    assert found["figures"]["evidence_removal"]["reason"] == "no quote stands in its document"
    assert found["num_skipped"] == {"no_quote": 3}
    with pytest.raises(DataError, match="controls must be there"):
        evidence_figures([{"id": "a", "prob": 1, "without_evidence": 0, "controls": []}], {}, {}, settings=SETTINGS)
