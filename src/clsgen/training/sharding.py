"""Weights, gradients and optimizer state spread over the processes of a run (FSDP2), and put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from clsgen.model import backbone
from clsgen.model.dual import DualModel
from clsgen.training.ranks import num_ranks, rank


class Whole(NamedTuple):
    """weights: trained tensors by name. optimizer: its state dict. Both on the CPU, nothing of them spread."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Any]


def shard(model: DualModel) -> None:
    """Spread the model in place: each layer is put together for its own forward and backward alone.

    What stands outside the layers (embeddings, output layer, class head) is together during a whole step.
    """
    mesh = init_device_mesh(model.device.type, (num_ranks(),))
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _layers(model: DualModel) -> list[nn.Module]:
    """The decoder's layers, first to last."""
    stacks = [part for part in backbone.body_of(model.language_model).children() if isinstance(part, nn.ModuleList)]
    return [layer for stack in stacks for layer in stack]


def put_away(model: DualModel) -> None:
    """Spread again what a forward left together, so that names stand for the spread weights that are trained."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor, on the CPU; every process must ask for it at the same moment.

    The first process alone gets a spread one; the others get an empty one, so that one memory holds it all.
    """
    if not isinstance(tensor, DTensor):
        return tensor.cpu()
    full = tensor.full_tensor()
    return full.cpu() if rank() == 0 else full.new_empty(0)


def spread_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor spread as another one is, of which every process takes its part; a whole one stays as it is."""
    if not isinstance(other, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def whole_optimizer_state(optimizer: Any) -> dict[str, Any]:
    """What `optimizer.state_dict()` would be in one process; see `whole`."""
    record = optimizer.state_dict()
    state = {
        index: {name: whole(value) if isinstance(value, Tensor) else value for name, value in entry.items()}
        for index, entry in record["state"].items()
    }
    return {**record, "state": state}


def load_optimizer_state(optimizer: Any, record: Mapping[str, Any]) -> None:
    """Put a whole state into the optimizer of spread weights."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        index: {
            name: spread_like(value, parameters[index])
            if isinstance(value, Tensor) and value.shape == parameters[index].shape and value.dim()
            else value
            for name, value in entry.items()
        }
        for index, entry in record["state"].items()
    }
    optimizer.load_state_dict({**record, "state": state})


def load_whole(path: str) -> Any:
    """A file that `torch.save` wrote, on the CPU; no code of it is run."""
    return torch.load(path, map_location="cpu", weights_only=True)
