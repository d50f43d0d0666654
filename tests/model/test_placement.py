"""Weights on large pages are the same weights."""

from __future__ import annotations

import mmap

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clsgen.model.placement import on_large_pages

pytestmark = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="the system has no large pages to ask for")


class Tied(nn.Module):
    """Two names of one weight, an odd size before it, a type of its own, and whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.odd = nn.Parameter(torch.randn(7))
        self.embed = nn.Embedding(50, 16)
        self.out = nn.Linear(16, 50, bias=False)
        self.out.weight = self.embed.weight
        self.narrow = nn.Parameter(torch.randn(3, 5).bfloat16())
        self.turned = nn.Parameter(torch.randn(4, 6).T)
        self.empty = nn.Parameter(torch.empty(0, 3))
        self.count = nn.Parameter(torch.arange(4), requires_grad=False)


def test_weights_keep_their_values_ties_and_identity_and_begin_at_a_line() -> None:
    torch.manual_seed(0)
    model = Tied()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    known = dict(model.named_parameters())
    on_large_pages(model)
    assert all(model.get_parameter(name) is parameter for name, parameter in known.items())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.out.weight.data_ptr() == model.embed.weight.data_ptr()
    moved = (model.odd, model.embed.weight, model.narrow, model.turned)
    assert all(each.data_ptr() % 64 == 0 and each.is_contiguous() for each in moved)


def test_they_train_and_save_as_before(tmp_path: object) -> None:
    model = Tied()
    on_large_pages(model)
    model.out(model.embed(torch.tensor([3]))).sum().backward()
    with torch.no_grad():
        model.embed.weight -= model.embed.weight.grad
    state = {name: value for name, value in model.state_dict().items() if name != "out.weight"}
    save_file(state, f"{tmp_path}/all.safetensors")  # refuses tensors that share a storage


def test_a_model_without_weights_is_left_alone() -> None:
    on_large_pages(nn.Identity())


def test_a_kernel_without_large_pages_leaves_the_weights_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 9999)  # the kernel refuses advice that it does not know
    model = Tied()
    where = model.odd.data_ptr()
    on_large_pages(model)
    assert model.odd.data_ptr() == where
