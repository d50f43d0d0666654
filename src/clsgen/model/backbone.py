"""The stock backbone: the only file, with adapter.py and sequence.py, that knows transformers' model classes and peft.

The backbone stays an unmodified Hugging Face class; adapters are PEFT's, embeddings keep their size.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    Cache,
    DynamicCache,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from clsgen.errors import ArtifactError, ConfigError, HardwareError, ModelError
from clsgen.model.embedded import located
from clsgen.model.products import keep_few, linear

DTYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def preflight(name: str, revision: str | None = None) -> Path:
    """Find the backbone's config before anything heavy: a few kilobytes, or an error that says what to do.

    Args:
        name: "embedded", path of a directory, or hub id.
        revision: Hub revision; None: the default branch.

    Returns:
        The directory that holds config.json (the hub cache's snapshot for a hub id).

    Raises:
        ModelError: Missing, gated, misnamed, or not in the cache while offline.
    """
    if Path(located(name)).is_dir():
        return _check_directory(Path(located(name)))
    try:
        return Path(hf_hub_download(name, "config.json", revision=revision)).parent
    except GatedRepoError:
        raise ModelError(
            f"model.backbone: {name} is gated: access must be granted first. Accept its licence on the hub with your "
            "account, then `hf auth login` (or set HF_TOKEN), and run again."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(
            f"model.backbone must be embedded, a directory or a hub id that exists; got {name!r}. Check the spelling, "
            "or `hf auth login` if it is private."
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"model.backbone: {name!r} is neither a directory nor in the hub cache, and the hub can't be reached "
            f"({type(error).__name__}). Give a path or embedded, or download it first: hf download {name}."
        ) from None


def _check_directory(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelError(f"model.backbone: {folder} must hold config.json; it does not. Is it a model directory?")
    if not weight_files(folder):
        raise ModelError(f"model.backbone: {folder} must hold *.safetensors or pytorch_model*.bin; it has no weights.")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Weight files of a model directory: safetensors where there are any, else .bin; adapters and heads are not."""
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        found = sorted(folder.glob(pattern))
        if found:
            return found
    return []


def weights_hash(folder: Path) -> str:
    """SHA-256 over the contents of the weight files, in order of their names."""
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as handle:
            while block := handle.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def load_tokenizer(name: str, *, revision: str | None = None) -> Any:
    """The backbone's tokenizer (fast)."""
    try:
        return AutoTokenizer.from_pretrained(located(name), revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(f"model.backbone: the tokenizer of {name!r} can't be loaded: {error}") from error


def load_backbone(
    name: str, *, revision: str | None = None, dtype: str = "float32", is_quantized: bool = False
) -> PreTrainedModel:
    """Load a causal language model with an explicit dtype, and check that we read it as its own forward does.

    Args:
        name: "embedded", path or hub id.
        revision: Hub revision.
        dtype: "float32" or "bfloat16".
        is_quantized: 4-bit NF4 weights (qlora); CUDA only.

    Raises:
        ConfigError: is_quantized without bitsandbytes.
        HardwareError: is_quantized without CUDA, or too little memory.
        ModelError: The model can't be loaded, misses weights, or computes its logits in a way not understood.
    """
    keep_few()
    arguments: dict[str, Any] = {"dtype": DTYPES[dtype], "revision": revision, "output_loading_info": True}
    if is_quantized:
        require_for_qlora()
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    try:
        model, info = AutoModelForCausalLM.from_pretrained(located(name), **arguments)
    except (MemoryError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise HardwareError(
                f"model.backbone: there must be memory for the weights of {name!r}; {error}. Free some, or take a "
                "smaller model or model.dtype: bfloat16."
            ) from error
        raise ModelError(f"model.backbone: {name!r} can't be loaded as a causal language model: {error}") from error
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise ModelError(
            f"model.backbone: {name!r} must hold every weight of {type(model).__name__}; missing or misshapen: "
            f"{', '.join(missing[:5])} ({len(missing)} in all). Its head would be random."
        )
    model.eval()
    check_logits(model)
    return cast(PreTrainedModel, model)


def require_for_qlora() -> None:
    """Refuse 4-bit kernels where there is no CUDA, or nothing that has them.

    Raises:
        HardwareError: No CUDA device.
        ConfigError: bitsandbytes is not installed.
    """
    if not torch.cuda.is_available():
        raise HardwareError("model.tuning: qlora needs a CUDA device; none is here. Use lora, which runs on any.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("model.tuning: bitsandbytes must be installed for qlora. Run: pip install 'clsgen[quant]'")


def scratch_backbone(
    *, vocabulary: int, width: int, num_layers: int, num_heads: int, max_length_tokens: int, is_tied: bool, seed: int
) -> PreTrainedModel:
    """A small Llama with random weights, drawn from `seed` without touching the global generator."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=-(-width * 8 // 3 // 32) * 32,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        max_position_embeddings=max_length_tokens,
        tie_word_embeddings=is_tied,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    keep_few()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.eval()
    return cast(PreTrainedModel, model)


def set_special_ids(model: PreTrainedModel, *, pad_id: int, end_id: int) -> None:
    """Write pad and end ids where stock code looks for them: config and generation config.

    The backbone's own end ids (a list in some chat models) are kept beside ours.
    """
    ends = _end_ids(model.generation_config) or _end_ids(model.config)
    ends = [end_id, *(index for index in ends if index not in (end_id, pad_id))]
    model.config.pad_token_id = pad_id
    model.config.eos_token_id = ends[0] if len(ends) == 1 else ends
    if model.generation_config is None:
        model.generation_config = GenerationConfig()
    model.generation_config.pad_token_id = pad_id
    model.generation_config.eos_token_id = model.config.eos_token_id


def _end_ids(config: Any) -> list[int]:
    value = getattr(config, "eos_token_id", None)
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)


def end_ids(model: PreTrainedModel) -> tuple[int, ...]:
    """Ids at which the backbone itself stops writing."""
    return tuple(dict.fromkeys(_end_ids(model.generation_config) + _end_ids(model.config)))


def base_of(model: nn.Module) -> PreTrainedModel:
    """The stock causal model under a PEFT wrapper, or the model itself."""
    return cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)


def body_of(model: nn.Module) -> nn.Module:
    """The decoder that yields the last hidden states (final norm included), adapters in place."""
    return cast(nn.Module, base_of(model).base_model)


def project(model: nn.Module, hidden_ND: Tensor) -> Tensor:
    """Vocabulary logits of chosen positions only.

    Args:
        model: Causal model, wrapped or not.
        hidden_ND: Last hidden states, (N, D).

    Returns:
        (N, V), float32, as the model's own forward gives them (scaling and soft-capping included).
    """
    base = base_of(model)
    output = base.get_output_embeddings()
    logits_NV = linear(output, hidden_ND.to(output.weight.dtype)).float()
    config = base.config.get_text_config()
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits_NV = logits_NV * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits_NV = logits_NV / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits_NV = cap * torch.tanh(logits_NV / cap)
    return logits_NV


@torch.no_grad()
def check_logits(model: PreTrainedModel) -> None:
    """Compare our body-then-projection with the model's own forward on a few ids.

    Raises:
        ModelError: They differ: the architecture treats its logits in a way not understood here.
    """
    ids_BL = torch.arange(6, device=model.device)[None] % model.config.get_text_config().vocab_size
    hidden_BLD = body_of(model)(input_ids=ids_BL, use_cache=False).last_hidden_state
    ours = project(model, hidden_BLD[0])
    theirs = model(input_ids=ids_BL, use_cache=False).logits[0].float()
    tolerance = 1e-4 if model.dtype == torch.float32 else 0.05
    if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max() + 1)):
        raise ModelError(
            f"model.backbone: {type(model).__name__} computes its vocabulary logits in a way that is not understood. "
            "Please report the architecture."
        )


def new_cache(model: nn.Module) -> Cache:
    """An empty cache of keys and values that grows (sliding windows where the architecture has them)."""
    return DynamicCache(config=base_of(model).config)


def hidden_size(model: nn.Module) -> int:
    """Width D of the last hidden state."""
    return int(base_of(model).config.get_text_config().hidden_size)


def vocabulary_size(model: nn.Module) -> int:
    """Vocabulary logits a position, V."""
    return int(base_of(model).get_output_embeddings().weight.shape[0])


def context_tokens(model: nn.Module) -> int | None:
    """Longest input the backbone was made for; None where it does not say."""
    value = getattr(base_of(model).config.get_text_config(), "max_position_embeddings", None)
    return None if value is None else int(value)


def check_tensors(where: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and finiteness.

    Raises:
        ArtifactError: Naming the file and the first tensors that differ.
    """
    missing = sorted(set(expected) - set(found))
    unknown = sorted(set(found) - set(expected))
    misshapen = [name for name in expected if name in found and found[name].shape != expected[name].shape]
    broken = [name for name, tensor in found.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    for kind, names in (("missing", missing), ("unknown", unknown), ("misshapen", misshapen), ("not finite", broken)):
        if names:
            raise ArtifactError(
                f"{where}: tensors must be complete; {kind}: {', '.join(names[:3])} ({len(names)} in all). "
                "Restore the file from the run that made it."
            )
