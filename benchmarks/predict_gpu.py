"""What a Llama-3.1-8B-shaped model would do on a GPU, from FLOPs and bytes alone, and what it did.

    python benchmarks/predict_gpu.py    # writes docs/benchmarks/gpu.md, with the figures that gpu.py measured

Counted by hand from the shape; peak rates are the makers' data sheets. The predictions were written down before
anything was measured, and the utilisation that each assumes is the bar that its measurement is held to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsgen.artifacts import write_text_atomic
from pages import page, table

FIGURES, PAGE = Path("docs/benchmarks/gpu.json"), Path("docs/benchmarks/gpu.md")
TOKENS, BATCH, NEW, RANK = 4096, 32, 200, 16
PREFILL_USE, TRAIN_USE, BANDWIDTH_USE = 0.55, 0.40, 0.75
OURS_READ, BOTH = "classify, clsgen", "clsgen, both heads"
TEXT_ALONE = "stock generate, text alone"
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


def of_device(found: dict[str, Any]) -> Card:
    """The card that gpu.py ran on."""
    return next(card for card in CARDS if card.name.split()[0] in found["device"])


def measured(found: dict[str, Any], card: Card, shape: Shape) -> str:
    """The figures of gpu.py, those that were predicted beside their bars, and what they say."""
    rows = {row["row"]: row for row in found["rows"]}
    bars = {"LoRA, 1 a step": TRAIN_USE, "activated LoRA, 4 a step": TRAIN_USE, OURS_READ: PREFILL_USE}
    bars[f"explain {BATCH} together, {BOTH}"] = BANDWIDTH_USE
    lines = []
    for name, row in rows.items():
        if row["what"] == "writing":
            rate, use, kind = row["written_per_second"], row["bytes_per_second"] / card.bandwidth, "bandwidth"
        else:
            rate, use, kind = row["tokens_per_second"], row["flops_per_second"] / card.flops, "FLOPs"
        bar = bars.get(name)
        judged = ("", "") if bar is None else (f">= {bar:.0%}", "yes" if use >= bar else "no")
        peak = f"{row['peak_bytes'] / 2**30:.0f} GiB"
        lines.append((name, f"{rate:,.0f} tokens/s", f"{use:.1%} of {kind}", *judged, peak))
    about = (
        f"Measured on one {found['device']} with torch {found['torch']} by `{found['command']}`: random weights, LoRA "
        f"of rank {RANK}, {found['tokens']:,} tokens a document, {found['new']} new tokens, dropout off. A bfloat16 "
        f"matrix product of 8,192 by 8,192 ran at {found['matrix_flops'] / 1e12:.0f} TFLOP/s there, and a copy at "
        f"{found['copied_bytes_per_second'] / 1e12:.1f} TB/s; the shares are of the data sheet's peaks all the same."
    )
    names = ("row", "rate", "utilisation", "bar", "met", "peak memory")
    return f"## Measured\n\n{about}\n\n{table(names, lines)}\n\n{_told(rows, found['matrix_flops'])}"


def _told(rows: dict[str, dict[str, Any]], matrix_flops: float) -> str:
    """What the figures say."""
    lora, activated = rows["LoRA, 1 a step"], rows["activated LoRA, 4 a step"]
    both, alone = (rows[f"explain {BATCH} together, {name}"] for name in (BOTH, TEXT_ALONE))
    one = rows[f"explain 1 together, {BOTH}"]
    return (
        f"Reading is at {rows[OURS_READ]['flops_per_second'] / matrix_flops:.0%} of what a bare product reached, and a "
        "little faster than the stock forward. An adapter that acts from the decision position on trains "
        f"{activated['tokens_per_second'] / lora['tokens_per_second']:.1f} times as many tokens a second as LoRA, in "
        f"{activated['peak_bytes'] / 2**30:.0f} GiB and not {lora['peak_bytes'] / 2**30:.0f}.\n\n"
        f"**Writing falls short.** A step takes {1000 * BATCH / both['written_per_second']:.0f} ms for {BATCH} rows "
        f"and {1000 / one['written_per_second']:.0f} ms for one: it waits for kernels to be launched, and for neither "
        "weights nor keys. Stock `generate` waits as well and is a little quicker, so that clsgen gives probability "
        f"and reason at {both['documents_per_second'] / alone['documents_per_second']:.2f} of the rate at which stock "
        "code writes the reason alone. A step captured as one graph would be launched once; that is not built. For "
        "many reasons on a GPU, [export the model](../how-to/export.md) and serve it with vLLM.\n\n"
        f"The {both['peak_bytes'] / 2**30:.0f} GiB are from before a mend: room for rows was doubled when only their "
        "length grew, which took 17 GiB too many here."
    )


def main() -> None:
    """Write the page."""
    shape = Shape()
    about = (
        f"What FLOPs and bytes allow a Llama-3.1-8B-shaped model ({shape.body / 1e9:.2f} billion weights in its "
        f"layers, {shape.adapter / 1e6:.0f} million in a rank-{RANK} adapter), written down before anything was "
        "measured; the utilisations are the bars of what was measured since. `python benchmarks/predict_gpu.py` makes "
        "this page."
    )
    columns = [predictions(card, shape) for card in CARDS]
    rows = [(name, *(column[at][1] for column in columns)) for at, (name, _) in enumerate(columns[0])]
    counted = (
        "Counted: two FLOPs a weight and token, the causal half of attention's products, and for LoRA a backward as "
        "dear as the forward, as frozen weights have no gradient of their own. Decoding reads every weight and every "
        "kept key and value once a step. Peak rates: 989 TFLOP/s dense bf16 for both cards, 3.35 and 4.8 TB/s."
    )
    figures = table(("prediction", *(card.name for card in CARDS)), rows)
    body = f"{figures}\n\n{counted}"
    if FIGURES.is_file():
        found = json.loads(FIGURES.read_text(encoding="utf-8"))
        body += "\n\n" + measured(found, of_device(found), shape)
    write_text_atomic(PAGE, page("On a GPU: predictions and measurements", about, body))


if __name__ == "__main__":
    main()
