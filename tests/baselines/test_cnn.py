"""The convolutional baseline: learns a word, blind to padding, the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss, roc_auc_score

from clsgen.baselines import cnn
from clsgen.baselines.cnn import LCD, MAX_WORDS, SEPARATOR, UNKNOWN, CnnBaseline, CnnShape, KimCnn, fit_cnn
from clsgen.errors import DataError
from clsgen.types import Example, TaskSpec

SPEC = TaskSpec("toy", ("no", "yes"), "Decide.", positive="yes")
FILLER = [f"word{index}" for index in range(20)]


def make_rows(num_rows: int, *, seed: int) -> list[Example]:
    """Rows of random words; the label's own word stands in the document or in the question."""
    draw = random.Random(seed)
    rows = []
    for index in range(num_rows):
        label = draw.choice(SPEC.labels)
        words = draw.choices(FILLER, k=draw.randint(4, 20))
        sign = f"sign{label}"
        question = sign if draw.random() < 0.5 else "word1"
        if question != sign:
            words.insert(draw.randrange(len(words)), sign)
        rows.append(Example(str(index), " ".join(words), question, label))
    return rows


SMALL = CnnShape(128, (3, 4, 5), 8)


@pytest.fixture(scope="module")
def fitted() -> CnnBaseline:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cnn, "LEARNING_RATE", 1e-2)
        patch.setattr(cnn, "MAX_EPOCHS", 5)
        return fit_cnn(make_rows(200, seed=0), make_rows(100, seed=1), SPEC, seed=0, shape=CnnShape(16, (3, 4, 5), 16))


def test_learns_a_planted_word(fitted: CnnBaseline) -> None:
    test = make_rows(200, seed=2)
    probs_NC = fitted.probs(test)
    np.testing.assert_allclose(probs_NC.sum(axis=1), 1, atol=1e-12)
    assert roc_auc_score([row.label == "yes" for row in test], probs_NC[:, 1]) > 0.97


def test_keeps_the_epoch_of_least_validation_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "LEARNING_RATE", 1e-2)
    draw = random.Random(0)  # labels that nothing explains: train is learnt by heart, validation gets worse
    rows = [replace(row, label=draw.choice(SPEC.labels)) for row in make_rows(160, seed=0)]
    train, validation = rows[:80], rows[80:]
    fitted = fit_cnn(train, validation, SPEC, seed=0, shape=SMALL)
    assert fitted.num_epochs < len(fitted.validation_log_losses) < cnn.MAX_EPOCHS
    expected = log_loss([row.label == "yes" for row in validation], fitted.probs(validation))
    assert expected == pytest.approx(min(fitted.validation_log_losses), abs=1e-5)
    assert fitted.validation_log_losses[fitted.num_epochs - 1] == min(fitted.validation_log_losses)


def test_a_row_alone_is_a_row_among_longer_ones(fitted: CnnBaseline) -> None:
    test = [*make_rows(40, seed=3), Example("short", "word1"), Example("empty", ""), Example("long", "word2 " * 300)]
    whole_NC = fitted.logits(test)
    alone_NC = np.concatenate([fitted.logits([row]) for row in test])
    np.testing.assert_allclose(alone_NC, whole_NC, atol=1e-5)
    assert fitted.logits([]).shape == (0, 2)


def test_padding_has_no_part_in_the_maximum() -> None:
    torch.manual_seed(0)
    network = KimCnn(30, 2).eval()
    for convolution in network.convolutions:  # all responses below the bias, so that a padded window would win
        torch.nn.init.constant_(convolution.bias, 1.0)
    words_BL = torch.randint(3, 30, (3, 12))
    lengths_B = torch.tensor([12, 7, 3])
    padded_BL = torch.where(torch.arange(12) < lengths_B[:, None], words_BL, 0)
    longer_BL = F.pad(padded_BL, (0, 25))
    torch.testing.assert_close(network(longer_BL, lengths_B), network(padded_BL, lengths_B), atol=1e-6, rtol=0)
    single = network(words_BL[1:2, :7], lengths_B[1:2])
    torch.testing.assert_close(network(padded_BL, lengths_B)[1:2], single, atol=1e-6, rtol=0)


def test_values_and_gradients_are_those_of_the_plain_network() -> None:
    torch.manual_seed(1)
    network = KimCnn(50, 3).eval()
    words_BL, lengths_B = torch.randint(3, 50, (4, 15)), torch.full((4,), 15)

    def plain() -> torch.Tensor:
        embedded_BEL = network.embedding(words_BL).transpose(1, 2)
        return network.output(torch.cat([F.relu(conv(embedded_BEL)).amax(2) for conv in network.convolutions], 1))

    gradients = []
    for logits_BC in (network(words_BL, lengths_B), plain()):
        network.zero_grad()
        F.cross_entropy(logits_BC, torch.tensor([0, 1, 2, 0])).backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(network(words_BL, lengths_B), plain())
    torch.testing.assert_close(*gradients)


def test_same_seed_same_weights_and_no_trace_on_the_callers_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "MAX_EPOCHS", 2)
    train, validation = make_rows(40, seed=0), make_rows(20, seed=1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = fit_cnn(train, validation, SPEC, seed=3, shape=SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = (
        fit_cnn(train, validation, SPEC, seed=3, shape=SMALL),
        fit_cnn(train, validation, SPEC, seed=4, shape=SMALL),
    )
    assert (first.logits(validation) == again.logits(validation)).all()
    assert (first.logits(validation) != other.logits(validation)).any()


def test_stops_when_validation_no_longer_improves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "LEARNING_RATE", 0.0)  # nothing moves: the first epoch stays the best
    fitted = fit_cnn(make_rows(40, seed=0), make_rows(20, seed=1), SPEC, seed=0, shape=SMALL)
    assert fitted.num_epochs == 1
    assert len(fitted.validation_log_losses) == 1 + cnn.PATIENCE_EPOCHS


def test_vocabulary_is_of_train_words_that_occur_twice() -> None:
    rows = [Example("a", "Pain, pain. Fever", "Is it?", "no"), Example("b", "rash fever", "", "yes")]
    vocabulary = cnn._build_vocabulary(rows)
    assert set(vocabulary) == {"pain", "fever"}
    assert cnn._encode(rows[1], vocabulary) == [UNKNOWN, vocabulary["fever"], SEPARATOR]


def test_only_the_middle_of_the_document_is_cut() -> None:
    vocabulary = {str(index): index + 3 for index in range(3000)}
    ids = cnn._encode(Example("a", " ".join(map(str, range(2000))), "2500 2501"), vocabulary)
    assert len(ids) == MAX_WORDS
    assert ids[:2] == [3, 4]
    assert ids[-4:] == [1999 + 3, SEPARATOR, 2503, 2504]
    long_question = " ".join(["2500"] * 1500)
    assert cnn._encode(Example("a", "1 2 3", long_question), vocabulary) == [SEPARATOR, *[2503] * 1500]


def test_unlabelled_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"label of train row 'x' must be one of"):
        fit_cnn([*make_rows(5, seed=0), Example("x", "text")], make_rows(5, seed=1), SPEC, seed=0)


def test_the_shape_of_the_lcd_paper_is_used() -> None:
    fitted = fit_cnn(make_rows(40, seed=0), make_rows(20, seed=1), SPEC, seed=0, shape=LCD)
    assert fitted.network.embedding.weight.shape[1] == 100
    assert [tuple(each.weight.shape) for each in fitted.network.convolutions] == [(25, 100, w) for w in (1, 2, 3)]
    assert fitted.network.output.weight.shape == (2, 75)
    assert fitted.logits([Example("one word", "word1")]).shape == (1, 2)
