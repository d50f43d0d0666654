"""What a Llama-3.1-8B-shaped model would do on a GPU, from FLOPs and bytes alone: predictions, never measurements.

    python benchmarks/predict_gpu.py    # writes docs/benchmarks/gpu.md

Counted by hand from the shape; peak rates are the makers' data sheets. The utilisation that a prediction assumes is the
bar that a measurement will be held to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clsgen.artifacts import write_text_atomic
from pages import page, table

FIGURES, PAGE = Path("docs/benchmarks/gpu.json"), Path("docs/benchmarks/gpu.md")
TOKENS, BATCH, NEW, RANK = 4096, 32, 200, 16
PREFILL_USE, TRAIN_USE, BANDWIDTH_USE = 0.55, 0.40, 0.75
REFERENCE_TOKENS_PER_S = 12_473
"""NVIDIA NeMo, Llama-3-8B with LoRA on one H100, from its published performance table."""


@dataclass(frozen=True)
class Shape:
    """Of Llama-3.1-8B."""

    width: int = 4096
    num_layers: int = 32
    num_heads: int = 32
    num_key_heads: int = 8
    mlp: int = 14336
    vocabulary: int = 128_256

    @property
    def body(self) -> int:
        """Weights of the layers."""
        head = self.width // self.num_heads
        attention = self.width * head * (2 * self.num_heads + 2 * self.num_key_heads)
        return self.num_layers * (attention + 3 * self.width * self.mlp)

    @property
    def adapter(self) -> int:
        """Weights of LoRA on every linear layer."""
        head = self.width // self.num_heads
        outs = [self.width, self.num_key_heads * head, self.num_key_heads * head, self.width]
        attention = sum(self.width + out for out in outs)
        return self.num_layers * RANK * (attention + 3 * (self.width + self.mlp))

    def forward_flops(self, tokens: int) -> float:
        """Of one document, vocabulary left out: two a weight and token, and the causal half of attention's products."""
        return 2.0 * self.body * tokens + 2.0 * self.num_layers * self.width * tokens**2

    @property
    def kept_bytes(self) -> int:
        """Keys and values of a token in 16 bits."""
        return 2 * 2 * self.num_layers * self.num_key_heads * self.width // self.num_heads

    @property
    def weight_bytes(self) -> int:
        """Weights that a written token needs, in 16 bits."""
        return 2 * (self.body + self.width * self.vocabulary)

    def step_bytes(self, num_rows: int, num_tokens: int) -> int:
        """Read to write one more token of each row: every weight, and every kept key and value."""
        return self.weight_bytes + num_rows * num_tokens * self.kept_bytes


@dataclass(frozen=True)
class Card:
    """Dense bf16 FLOPs and bytes of memory a second."""

    name: str
    flops: float
    bandwidth: float


CARDS = (Card("H100 SXM", 989e12, 3.35e12), Card("H200", 989e12, 4.8e12))


def predictions(card: Card, shape: Shape) -> list[tuple[str, str]]:
    """Name and value of each prediction."""
    forward = shape.forward_flops(TOKENS)
    read_s = forward / (PREFILL_USE * card.flops)
    step = 2 * forward  # frozen weights have no gradient of their own: backward costs what forward does
    train_s = step / (TRAIN_USE * card.flops)
    after = NEW / TOKENS
    activated_s = (forward + after * forward) / (TRAIN_USE * card.flops)
    step_s = shape.step_bytes(BATCH, TOKENS) / (BANDWIDTH_USE * card.bandwidth)
    explain_s = read_s + NEW * step_s / BATCH
    peak = shape.step_bytes(BATCH, TOKENS + NEW)
    used = step / TOKENS * REFERENCE_TOKENS_PER_S / card.flops
    return [
        (f"prefill, documents of {TOKENS:,} tokens, at {PREFILL_USE:.0%} of peak", f"{1 / read_s:.1f} documents/s"),
        ("the same in tokens", f"{TOKENS / read_s:,.0f} tokens/s"),
        (f"LoRA training at {TRAIN_USE:.0%} of peak", f"{TOKENS / train_s:,.0f} tokens/s"),
        ("activated adapter, the document without a graph", f"{TOKENS / activated_s:,.0f} tokens/s"),
        (
            "the public reference (NeMo, Llama-3-8B, LoRA, one H100) in the same count",
            f"{REFERENCE_TOKENS_PER_S:,} tokens/s, {used:.0%} of peak",
        ),
        (
            f"decoding, batch {BATCH} after {TOKENS:,} tokens, at {BANDWIDTH_USE:.0%} of bandwidth",
            f"{BATCH / step_s:,.0f} tokens/s",
        ),
        (f"classified and explained in {NEW} tokens", f"{1 / explain_s:.1f} documents/s"),
        ("memory, weights and the keys and values of that batch", f"{peak / 2**30:.0f} GiB"),
    ]


def main() -> None:
    """Write the page."""
    shape = Shape()
    about = (
        "**Nothing on this page was measured.** It is what FLOPs and bytes allow a Llama-3.1-8B-shaped model "
        f"({shape.body / 1e9:.2f} billion weights in its layers, {shape.adapter / 1e6:.0f} million in a rank-{RANK} "
        "adapter) at the utilisations that a measurement will be held to. `python benchmarks/predict_gpu.py` made it."
    )
    columns = [predictions(card, shape) for card in CARDS]
    rows = [(name, *(column[at][1] for column in columns)) for at, (name, _) in enumerate(columns[0])]
    counted = (
        "Counted: two FLOPs a weight and token, the causal half of attention's products, and for LoRA a backward as "
        "dear as the forward, as frozen weights have no gradient of their own. Decoding reads every weight and every "
        "kept key and value once a step. Peak rates: 989 TFLOP/s dense bf16 for both cards, 3.35 and 4.8 TB/s."
    )
    figures = table(("prediction", *(card.name for card in CARDS)), rows)
    write_text_atomic(PAGE, page("On a GPU: predictions", about, f"{figures}\n\n{counted}"))


if __name__ == "__main__":
    main()
