"""Products by another library are those of the module, and stay out of where they don't belong."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from clsgen.model import products
from clsgen.model.products import is_faster, linear


@pytest.fixture(autouse=True)
def _taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every processor, not only where it is faster."""
    if not products._is_right():
        pytest.skip("this PyTorch has no such operation")
    monkeypatch.setattr(products, "is_faster", lambda: True)


def calls(monkeypatch: pytest.MonkeyPatch, module: nn.Module) -> list[int]:
    """Grows when the module itself is asked."""
    seen: list[int] = []
    module.register_forward_hook(lambda *_: seen.append(1))
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 64, 32), (3, 96, 40), (4, 64, 32), (2, 1290, 8), (5, 96, 384), (300, 1000, 64)])
def test_the_product_is_the_modules(monkeypatch: pytest.MonkeyPatch, bias: bool, shape: tuple[int, int, int]) -> None:
    rows, num_in, num_out = shape
    torch.manual_seed(1)
    module = nn.Linear(num_in, num_out, bias=bias)
    inputs = torch.randn(rows, num_in)
    wanted = (inputs.double() @ module.weight.double().T) + (module.bias.double() if bias else 0)
    seen = calls(monkeypatch, module)
    with torch.inference_mode():
        found = linear(module, inputs)
    assert not seen
    assert torch.allclose(found.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("why", ["gradient", "bfloat16", "autocast", "other kind"])
def test_elsewhere_the_module_is_asked(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    module: nn.Module = nn.Linear(8, 4)
    if why == "other kind":
        module = nn.Sequential(module)
    dtype = torch.bfloat16 if why == "bfloat16" else torch.float32
    module, inputs = module.to(dtype), torch.randn(3, 8, dtype=dtype)
    seen = calls(monkeypatch, module)
    with torch.set_grad_enabled(why == "gradient"), torch.autocast("cpu", enabled=why == "autocast"):
        linear(module, inputs)
    assert seen


@pytest.mark.parametrize("state", ["active", "folded", "off", "folded and off"])
def test_an_adapter_acts_where_it_should(state: str) -> None:
    torch.manual_seed(2)
    model = get_peft_model(nn.Sequential(nn.Linear(16, 16)), LoraConfig(r=2, target_modules=["0"]))
    layer = model.base_model.model[0]
    for name, parameter in model.named_parameters():
        if "lora" in name:
            nn.init.normal_(parameter)
    inputs = torch.randn(4, 16)
    with torch.inference_mode():
        base = layer.base_layer(inputs)
        if "folded" in state:
            model.merge_adapter()
        if "off" in state:
            with model.disable_adapter():
                assert torch.allclose(linear(layer, inputs), base, atol=1e-5)
            return
        assert torch.allclose(linear(layer, inputs), layer(inputs), atol=1e-5)
        assert not torch.allclose(linear(layer, inputs), layer.base_layer(inputs), atol=1e-2) or state == "folded"


def test_whether_it_is_faster_depends_on_the_processor_alone() -> None:
    assert is_faster() is is_faster()
