"""Where the weights of a model that is only asked lie in a processor's memory.

Weight files are mapped into memory as they are, so that tensors begin at any odd byte and lie on pages of four
kilobytes. A token that is written reads every weight once: from aligned memory on large pages that is faster, for a
copy made once (docs/decisions/0018).
"""

from __future__ import annotations

import mmap

import torch
from torch import nn

_ALIGNED = 64
"""Bytes, a line of the processor's cache: where tensors begin."""
_MOVED = (torch.float32, torch.bfloat16, torch.float16)


def on_large_pages(model: nn.Module) -> None:
    """Move a model's weights, in their order, into one piece of memory that asks for large pages.

    Weights elsewhere than on a processor and small or quantized ones stay where they are; so do all where the system
    has no such pages to ask for.

    Args:
        model: Its parameters keep their identity; what else held their tensors keeps the earlier ones.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    weights = [each for each in model.parameters() if each.device.type == "cpu" and each.dtype in _MOVED]
    starts = [0]
    for weight in weights:
        starts.append(starts[-1] + -(-weight.nbytes // _ALIGNED) * _ALIGNED)
    if starts[-1] == 0:
        return
    try:
        area = mmap.mmap(-1, starts[-1], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without large pages, or too little memory for a copy
        return
    for weight, start in zip(weights, starts, strict=False):
        if weight.numel():
            moved = torch.frombuffer(area, dtype=weight.dtype, count=weight.numel(), offset=start).view(weight.shape)
            weight.data = moved.copy_(weight.data)
