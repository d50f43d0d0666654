"""Write a folded Llama-shaped model as one GGUF file, the form that llama.cpp reads.

    python benchmarks/engines/gguf_file.py FOLDED OUTPUT.gguf --type f16

Llama and Mistral shapes with a byte-level BPE alone; llama.cpp's own converter knows many more. Prompts of a folded
model are sent as ids, so the pre-tokenizer that is named in the file splits no prompt of ours.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize
from numpy.typing import NDArray
from safetensors.torch import load_file

TYPES = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(folder: Path, output: Path, kind: str) -> None:
    """Write one file."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] not in ("llama", "mistral"):
        raise SystemExit(
            f"the model must be Llama-shaped; it is {config['model_type']}. Use llama.cpp's own converter."
        )
    writer = GGUFWriter(output, "llama")
    _write_shape(writer, config, kind)
    _write_tokenizer(writer, folder, config)
    for name, tensor in load_file(folder / "model.safetensors").items():
        new = _name(name)
        if new == "output.weight" and config.get("tie_word_embeddings"):
            continue
        values = _permuted(tensor.float().numpy(), new, config)
        type_ = TYPES[kind][0] if values.ndim == 2 else GGMLQuantizationType.F32
        writer.add_tensor(new, quantize(np.ascontiguousarray(values), type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_shape(writer: GGUFWriter, config: dict[str, Any], kind: str) -> None:
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or config
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(TYPES[kind][1])


def _write_tokenizer(writer: GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {each["id"] for each in tokenizer["added_tokens"] if each["special"]}
    ids = tokenizer["model"]["vocab"] | {each["content"]: each["id"] for each in tokenizer["added_tokens"]}
    texts = {index: text for text, index in ids.items()}
    tokens = [texts.get(index, f"[PAD{index}]") for index in range(config["vocab_size"])]
    kinds = [
        TokenType.CONTROL if index in special or index not in texts else TokenType.NORMAL
        for index in range(len(tokens))
    ]
    merges = [each if isinstance(each, str) else " ".join(each) for each in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe" if "Split" in json.dumps(tokenizer["pre_tokenizer"]) else "gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    ends = config["eos_token_id"]
    writer.add_eos_token_id(ends if isinstance(ends, int) else ends[0])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)


def _name(name: str) -> str:
    plain = name.removeprefix("model.").removesuffix(".weight")
    if not plain.startswith("layers."):
        return {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[plain] + ".weight"
    _, layer, rest = plain.split(".", 2)
    return f"blk.{layer}.{NAMES[rest]}.weight"


def _permuted(values: NDArray[np.float32], name: str, config: dict[str, Any]) -> NDArray[np.float32]:
    """Query and key rows in the order of pairs that llama.cpp turns: first and second halves interleaved."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    count = heads.get(name.split(".")[-2])
    if count is None:
        return values
    return values.reshape(count, 2, values.shape[0] // count // 2, -1).swapaxes(1, 2).reshape(values.shape)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--type", choices=TYPES, default="f16")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.output, arguments.type)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
