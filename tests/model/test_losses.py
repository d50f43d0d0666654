"""Losses: sums against torch and hand-worked numbers; weights that leave the logits on the natural prior."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clsgen.errors import ConfigError
from clsgen.model.losses import balanced_weights, class_loss, kl_to_base, normalise_weights, token_loss

LOGITS = [[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]]


def test_class_loss_is_the_sum_over_labelled_rows() -> None:
    logits_BC, labels_B = torch.tensor(LOGITS), torch.tensor([0, 2, -100, 1])
    loss = class_loss(logits_BC, labels_B)
    rows = [
        math.log(sum(map(math.exp, row))) - row[label]
        for row, label in ((LOGITS[0], 0), (LOGITS[1], 2), (LOGITS[3], 1))
    ]
    assert loss.total.item() == pytest.approx(sum(rows), rel=1e-6)
    assert loss.weight.item() == 3


def test_class_weights_enter_inside_the_softmax_and_as_factor() -> None:
    # z = (0, 0), w = (1, 3): softmax(z + log w) = (1/4, 3/4). Class 0 costs 1 * ln 4, class 1 costs 3 * ln(4/3).
    loss = class_loss(torch.zeros(2, 2), torch.tensor([0, 1]), class_weights_C=torch.tensor([1.0, 3.0]))
    assert loss.total.item() == pytest.approx(math.log(4) + 3 * math.log(4 / 3), rel=1e-6)
    assert loss.weight.item() == 2


def test_a_common_factor_of_the_weights_scales_the_loss_alone() -> None:
    logits_BC, labels_B = torch.tensor(LOGITS), torch.tensor([0, 2, 1, 1])
    weights_C = torch.tensor([1.0, 2.0, 5.0])
    once = class_loss(logits_BC, labels_B, class_weights_C=weights_C).total
    fourfold = class_loss(logits_BC, labels_B, class_weights_C=4 * weights_C).total
    assert fourfold.item() == pytest.approx(4 * once.item(), rel=1e-6)


def test_label_smoothing_by_hand() -> None:
    loss = class_loss(torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0]), label_smoothing=0.2)
    assert loss.total.item() == pytest.approx(-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4), rel=1e-6)


def _fitted_probs(loss_of: object, probs_XC: Tensor) -> Tensor:
    """softmax of the free logit table that minimises a loss over every (x, y), each as often as p(x, y) says."""
    table_XC = torch.zeros_like(probs_XC, requires_grad=True)
    optimizer = torch.optim.LBFGS([table_XC], max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.zeros(())
        for label in range(probs_XC.shape[1]):
            for row in range(len(probs_XC)):
                loss = loss + probs_XC[row, label] * loss_of(table_XC[row : row + 1], torch.tensor([label]))  # type: ignore[operator]
        loss.backward()
        return loss

    optimizer.step(closure)
    return torch.softmax(table_XC.detach(), dim=1)


# p(y = 1 | x) of four texts: the whole population, so that the minimum is the expectation's and not a sample's.
PROBS = torch.tensor([[0.98, 0.02], [0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
WEIGHTS = torch.tensor([1.0, 9.0])


@pytest.mark.parametrize("weights_C", [None, WEIGHTS])
def test_logits_stay_on_the_natural_prior_with_and_without_weights(weights_C: Tensor | None) -> None:
    fitted = _fitted_probs(lambda z, y: class_loss(z, y, class_weights_C=weights_C).total, PROBS)
    torch.testing.assert_close(fitted, PROBS, atol=2e-3, rtol=0)


def test_smoothed_targets_are_on_the_natural_prior_too() -> None:
    fitted = _fitted_probs(lambda z, y: class_loss(z, y, class_weights_C=WEIGHTS, label_smoothing=0.1).total, PROBS)
    torch.testing.assert_close(fitted, 0.9 * PROBS + 0.05, atol=2e-3, rtol=0)


def test_plain_weighted_cross_entropy_moves_the_prior() -> None:
    fitted = _fitted_probs(lambda z, y: F.cross_entropy(z, y, weight=WEIGHTS, reduction="sum"), PROBS)
    # (0.9 * 1, 0.1 * 9) balances: a text of risk 0.1 is given 0.5.
    assert fitted[1, 1].item() == pytest.approx(0.5, abs=2e-3)


def test_class_loss_without_labelled_rows_is_zero_and_differentiable() -> None:
    for logits_BC, labels_B in (
        (torch.randn(2, 3), torch.full((2,), -100)),
        (torch.randn(0, 3), torch.zeros(0).long()),
    ):
        logits_BC.requires_grad_()
        loss = class_loss(logits_BC, labels_B, class_weights_C=torch.ones(3), label_smoothing=0.1)
        loss.total.backward()
        assert loss.total.item() == 0
        assert loss.weight.item() == 0
        assert logits_BC.grad is not None
        assert (logits_BC.grad == 0).all()


def test_token_loss_is_torch_cross_entropy_in_sum() -> None:
    logits_NV = torch.randn(5, 11, generator=torch.Generator().manual_seed(0))
    targets_N = torch.tensor([0, 10, 3, 3, 7])
    loss = token_loss(logits_NV, targets_N)
    by_hand = -sum(torch.log_softmax(row, 0)[target] for row, target in zip(logits_NV, targets_N, strict=True))
    torch.testing.assert_close(loss.total, torch.as_tensor(by_hand))
    assert loss.weight.item() == 5


def test_kl_is_zero_at_the_base_and_asymmetric_by_hand() -> None:
    base_NV = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    model_NV = torch.log(torch.tensor([[0.25, 0.25, 0.5]]))
    assert kl_to_base(base_NV, base_NV).total.item() == 0
    # base || model: 0.5 ln 2 + 0 + 0.25 ln 0.5 = 0.25 ln 2
    assert kl_to_base(base_NV, model_NV).total.item() == pytest.approx(0.25 * math.log(2), rel=1e-6)
    other_NV = torch.log(torch.tensor([[0.1, 0.6, 0.3]]))
    forward = 0.5 * math.log(5) + 0.25 * math.log(0.25 / 0.6) + 0.25 * math.log(0.25 / 0.3)
    assert kl_to_base(base_NV, other_NV).total.item() == pytest.approx(forward, rel=1e-6)


def test_kl_sends_no_gradient_into_the_base() -> None:
    base_NV, model_NV = torch.randn(2, 4, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    loss = kl_to_base(base_NV, model_NV)
    loss.total.backward()
    assert base_NV.grad is None
    assert model_NV.grad is not None
    # d KL / d logits = softmax(model) - softmax(base)
    torch.testing.assert_close(model_NV.grad, torch.softmax(model_NV, 1) - torch.softmax(base_NV, 1))
    assert loss.weight.item() == 2


def test_no_positions_give_an_exact_zero_with_a_graph() -> None:
    logits_NV = torch.randn(0, 7, requires_grad=True)
    for loss in (token_loss(logits_NV, torch.zeros(0).long()), kl_to_base(torch.randn(0, 7), logits_NV)):
        assert loss.total.item() == 0
        assert loss.weight.item() == 0
        assert loss.total.requires_grad
        loss.total.backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_reduced_in_float32(dtype: torch.dtype) -> None:
    logits = torch.randn(64, 50, generator=torch.Generator().manual_seed(1)).to(dtype)
    targets = torch.arange(64) % 50
    for loss in (token_loss(logits, targets), class_loss(logits, targets), kl_to_base(logits, logits.flip(0))):
        assert loss.total.dtype == torch.float32
    expected = F.cross_entropy(logits.double(), targets, reduction="sum")
    assert token_loss(logits, targets).total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_sums_over_parts_add_up_to_the_whole() -> None:
    logits_BC, labels_B = torch.tensor(LOGITS), torch.tensor([0, 2, -100, 1])
    weights_C = torch.tensor([1.0, 2.0, 5.0])
    whole = class_loss(logits_BC, labels_B, class_weights_C=weights_C)
    parts = [class_loss(logits_BC[i : i + 1], labels_B[i : i + 1], class_weights_C=weights_C) for i in range(4)]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    assert sum(part.weight.item() for part in parts) == whole.weight.item()


def test_weights_have_the_scale_of_one_row() -> None:
    counts = (970, 30)
    weights = balanced_weights(counts)
    assert weights == pytest.approx((1000 / (2 * 970), 1000 / (2 * 30)))  # scikit-learn's "balanced"
    assert sum(w * n for w, n in zip(weights, counts, strict=True)) == pytest.approx(1000)
    assert normalise_weights((2, 2, 2), (5, 1, 0)) == pytest.approx((1, 1, 1))


def test_weights_that_are_none_are_refused() -> None:
    for weights in ((1.0,), (1.0, 0.0), (1.0, -2.0), (1.0, math.nan), (1.0, math.inf)):
        with pytest.raises(ConfigError, match=r"class_weights must be 2 positive numbers, one a label"):
            normalise_weights(weights, (5, 5))
    with pytest.raises(
        ConfigError, match=r"class_weights must be set on labelled training rows; got class counts \(0, 0\)"
    ):
        normalise_weights((1, 1), (0, 0))
    with pytest.raises(ConfigError, match=r"a training row of every class; got class counts \(5, 0\)"):
        balanced_weights((5, 0))
