"""Settings of the model: backbone, tuning, rendering."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clsgen.config.section import Section


class ScratchSettings(Section):
    """The small Llama that `init: scratch` builds."""

    vocabulary: int = Field(4096, ge=384, le=65536, description="Size of the byte-level BPE, special tokens included.")
    width: int = Field(256, ge=32, multiple_of=16, description="Hidden width, D.")
    num_layers: int = Field(4, ge=1, description="Decoder layers.")
    num_heads: int = Field(4, ge=1, description="Attention heads; must divide width.")
    is_tied: bool = Field(True, description="Whether input and output embeddings are one matrix.")


class LoraSettings(Section):
    """Low-rank adapters (PEFT)."""

    rank: int = Field(16, ge=1, description="Rank r of the update.")
    alpha: float = Field(32.0, gt=0, description="Scale; the update is multiplied by alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the adapter's input.")
    starts_at: Literal["document_end", "decision"] = Field(
        "document_end", description="tuning: activated: the first position at which the adapter acts."
    )
    targets: tuple[str, ...] | None = Field(
        None, description="Names of the linear layers; null: attention and MLP projections of the architecture."
    )


class ModelSettings(Section):
    """The backbone and how it is tuned."""

    backbone: str | None = Field(
        None,
        description="embedded (the small model that comes with the package), hub id or path of a causal language "
        "model; null with init: scratch.",
    )
    revision: str | None = Field(None, description="Hub revision of the backbone; null: the default branch.")
    init: Literal["pretrained", "scratch"] = Field(
        "pretrained", description="scratch: a small Llama and a BPE tokenizer built from the training text."
    )
    tuning: Literal["full", "lora", "activated", "head_only", "qlora"] = Field(
        "lora",
        description="What is trained beside the class head. activated: an adapter that acts only after the document, "
        "which the frozen base reads without a graph: twice as fast to train, and never merged; qlora needs CUDA.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Type the backbone's weights are kept in; the class head is always float32."
    )
    max_length_tokens: int = Field(
        2048, ge=32, description="Prompt and explanation together; a longer document is cut to fit."
    )
    truncation: Literal["head", "tail", "middle"] = Field(
        "middle", description="Which part of a long document is left out; nothing else is ever cut."
    )
    max_explanation_tokens: int = Field(
        128, ge=8, description="Room kept for mode prefix, explanation, answer and end token; generation stops here."
    )
    scratch: ScratchSettings = Field(ScratchSettings(), description="Shape of the scratch model.")
    lora: LoraSettings = Field(LoraSettings(), description="Adapter settings of lora, qlora and activated.")
