"""Which matrix products are fast here, and float32 ones by a faster library than PyTorch's own choice.

PyTorch gives float32 products to MKL, which runs its older code on processors that are not Intel's. oneDNN, which comes
with PyTorch too and does its bfloat16 products, is twice as fast there. MKL again is the fastest for a few rows where
the weights stand on the left of a product with two columns or four. `scripts/measure_products.py` measures both.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_FEW = 4
"""Rows that are multiplied from the right, so many at most."""
_NARROW = 1280
"""Inputs of a layer for which that is the faster way, so many at most."""


def keep_few() -> None:
    """Let oneDNN keep what it compiled for 16 shapes of products; it reads this when it does its first one.

    By default it keeps 1,024, which comes to hundreds of megabytes, and texts packed into batches hardly ever have one
    shape twice.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")


def linear(module: nn.Module, input_TD: Tensor) -> Tensor:
    """What `module(input_TD)` gives, within the rounding of another order of sums.

    Args:
        module: A linear layer, plain or with an adapter around it.
        input_TD: What it is applied to, (T, D).
    """
    plain = _plain(module)
    if plain is None or not _suits(input_TD, plain.weight):
        output: Tensor = module(input_TD)
        return output
    if len(input_TD) <= _FEW and plain.in_features <= _NARROW:
        return _of_few(plain, input_TD)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(input_TD, plain.weight, plain.bias, "none", [], "")
    return found


def _of_few(plain: nn.Linear, input_TD: Tensor) -> Tensor:
    """The product with the weights on the left; rows of zeros make one row two, and three four."""
    num_rows = len(input_TD)
    columns_DT = pad(input_TD, (0, 0, 0, num_rows % 2)).T
    found_TD = torch.mm(plain.weight, columns_DT).T[:num_rows].contiguous()
    return found_TD if plain.bias is None else found_TD + plain.bias


def _plain(module: nn.Module) -> nn.Linear | None:
    """The linear layer that the module comes down to: itself, or one whose adapter is folded in or switched off."""
    if type(module) is nn.Linear:
        return module
    base: Any = getattr(module, "base_layer", None)
    is_merged, is_off = getattr(module, "merged", False), getattr(module, "disable_adapters", False)
    if type(base) is nn.Linear and is_merged != is_off:  # of both, PEFT takes the adapter out first
        return base
    return None


def _suits(input_TD: Tensor, weight: Tensor) -> bool:
    return (
        input_TD.dtype == weight.dtype == torch.float32
        and input_TD.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and is_faster()
    )


@cache
def is_faster() -> bool:
    """Whether oneDNN is there, and the processor is one on which it was measured to be faster."""
    return "AuthenticAMD" in _processor() and _is_right()


def _processor() -> str:
    """What Linux says of the processor; "" elsewhere."""
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _is_right() -> bool:
    """Whether the operation, which is no public one, is there and does what it did when this was written."""
    left, right, bias = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3), torch.arange(4.0)
    try:
        found = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, left @ right.T + bias)


def is_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 matrix products have hardware on this device."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    text = _processor()
    return "avx512_bf16" in text or "amx_bf16" in text
