"""PEFT's adapters around the backbone: added, switched off, saved, loaded, added into the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel

from clsgen.errors import ModelError
from clsgen.model.backbone import base_of, check_tensors

ADAPTED = ("lora", "qlora", "activated")
"""Kinds of tuning that train an adapter."""

_LORA_TARGETS: Mapping[str, tuple[str, ...]] = {
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "gpt_neox": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
}
_LORA_TARGETS_DEFAULT = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def lora_targets(model: PreTrainedModel) -> tuple[str, ...]:
    """Attention and MLP projections of the architecture, never the output layer."""
    wanted = _LORA_TARGETS.get(model.config.model_type, _LORA_TARGETS_DEFAULT)
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    found = tuple(name for name in wanted if name in present)
    if not found:
        raise ModelError(
            f"model.lora.targets must be given for the architecture {model.config.model_type!r}: none of its known "
            f"layer names is there. It has, among others: {sorted(present - {''})[:20]}."
        )
    return found


def add_lora(
    model: PreTrainedModel, *, rank: int, alpha: float, dropout: float, targets: Sequence[str] | None
) -> PeftModel:
    """Wrap the backbone with trainable low-rank adapters; every other weight is frozen.

    Raises:
        ModelError: Targets that are no layers of the backbone, or one of the two that share a table.
    """
    names = list(targets if targets is not None else lora_targets(model))
    _check_tied(model, names)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=names,
        task_type="CAUSAL_LM",
        bias="none",
        fan_in_fan_out=model.config.model_type == "gpt2",
    )
    try:
        return cast(PeftModel, get_peft_model(model, config))
    except ValueError as error:
        raise ModelError(f"model.lora.targets must name layers of the backbone; {error}") from error


def _check_tied(model: PreTrainedModel, targets: Sequence[str]) -> None:
    """Refuse an adapter of one of two layers that share a table: added into the weights it would change the other."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if ends[0].weight is not ends[1].weight:
        return
    names = [f".{name}" for name, module in model.named_modules() if module in ends]
    if any(name.endswith(f".{target}") for name in names for target in targets):
        raise ModelError(
            "model.lora.targets must leave out the embeddings and the output layer of this backbone, which are one "
            f"table; got {', '.join(targets)}. Name attention and MLP layers."
        )


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """Within it the wrapped model computes what its frozen base would, dropout off.

    Raises:
        RuntimeError: The model has no adapter to switch off.
    """
    if not isinstance(model, PeftModel):
        raise RuntimeError("only a model with an adapter holds its base; keep a reference of a full-tuned one")
    was_training = model.training
    model.eval()
    try:
        with model.disable_adapter():
            yield
    finally:
        model.train(was_training)


def save_adapter(model: PeftModel, folder: Path, *, base_name: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors, without paths of this machine."""
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def load_adapter(model: PreTrainedModel, folder: Path, state: Mapping[str, Tensor]) -> PeftModel:
    """Wrap `model` with the saved adapter; every tensor must be there, with its shape.

    Raises:
        ArtifactError: A missing, unknown or misshapen tensor.
    """
    config = LoraConfig.from_pretrained(str(folder))
    config.inference_mode = False
    config.base_model_name_or_path = model.name_or_path
    wrapped = cast(PeftModel, get_peft_model(model, config))
    expected = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    check_tensors("adapter_model.safetensors", dict(state), expected)
    set_peft_model_state_dict(wrapped, dict(state))
    wrapped.eval()
    return wrapped


def merge_adapter(model: nn.Module) -> PreTrainedModel:
    """The stock model with the adapter added into its weights; the wrapper is gone."""
    if not isinstance(model, PeftModel):
        return base_of(model)
    return cast(PreTrainedModel, model.unload() if _is_folded(model) else model.merge_and_unload())


def fold_adapter(model: nn.Module) -> None:
    """Add the adapter into the weights in place, so that asking costs no products more. 4-bit weights are left apart.

    The adapter itself stays as it is, and is what `save_adapter` writes; `adapter_off` takes it out again.
    """
    if isinstance(model, PeftModel) and not _is_folded(model) and not getattr(base_of(model), "is_quantized", False):
        model.merge_adapter()


def _is_folded(model: nn.Module) -> bool:
    return any(getattr(module, "merged", False) for module in model.modules())
