"""A Llama-3.1-8B-shaped model with random weights on one GPU: training, classifying and explaining.

    python benchmarks/gpu.py            # three minutes on an H100; writes docs/benchmarks/gpu.json
    python benchmarks/gpu.py --small    # the same code with a tiny model, anywhere; writes nothing
    python benchmarks/predict_gpu.py    # the page: what was predicted, and beside it what was measured

Training is `DualTrainer`'s, as `clsgen train` sets it up; reading and writing are the fast engine's, and beside each
stands what stock transformers takes for the same ids on the same card. Medians of several steps or runs after a
warm-up.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, TrainerCallback

from clsgen.artifacts import write_json_atomic
from clsgen.config.training import TrainSettings
from clsgen.data.template import Prompt
from clsgen.inference.engine import Part
from clsgen.inference.fast_engine import FastEngine
from clsgen.model import adapter, backbone
from clsgen.model.dual import DualModel
from clsgen.model.head import ClassHead
from clsgen.training.objective import objective_of, training_arguments
from clsgen.training.trainer import DualTrainer
from predict_gpu import BATCH, BOTH, FIGURES, NEW, RANK, TEXT_ALONE, TOKENS, Shape
from rows.training import row_of

NUM_TARGET = 96
"""Of a training row's tokens, those of the explanation."""
WARM_STEPS, NUM_STEPS, NUM_RUNS = 3, 6, 3
READ_TOKENS = 16_384
"""Prompt tokens a forward, both sides."""


class Sizes(NamedTuple):
    """What is measured: tokens of a document, documents, and new tokens of each."""

    tokens: int
    documents: int
    new: int


class Clock(TrainerCallback):
    """When each step ended, on the device too."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait for the device and look at the clock."""
        finish()
        self.ends.append(time.perf_counter())


def main() -> None:
    """Measure everything, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--output", type=Path, default=FIGURES)
    options = parser.parse_args()
    if not (options.small or torch.cuda.is_available()):
        parser.error("a CUDA device is needed; --small runs anywhere")
    shape = Shape(64, 2, 4, 2, 128, 3072) if options.small else Shape()
    sizes = Sizes(256, 4, 16) if options.small else Sizes(TOKENS, BATCH, NEW)
    found = measured(shape, sizes)
    print(json.dumps(found, indent=2))
    if not options.small:
        write_json_atomic(options.output, found)


def measured(shape: Shape, sizes: Sizes) -> dict[str, Any]:
    """Every figure of one card."""
    flops, bandwidth = ceilings()
    model = dual_model(shape)
    rows = [
        training(model, shape, sizes, name="LoRA", batch=1),
        training(as_activated(model), shape, sizes, name="activated LoRA", batch=1),
        training(as_activated(model), shape, sizes, name="activated LoRA", batch=4),
    ]
    model.enable_gradient_checkpointing()
    rows += [training(model, shape, sizes, name="LoRA, gradient checkpointing", batch=batch) for batch in (1, 4)]
    backbone.base_of(model.language_model).gradient_checkpointing_disable()
    model.fold_adapter()
    model.eval().requires_grad_(False)
    rows += [*reading(model, shape, sizes), *writing(model, shape, sizes)]
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "processor",
        "torch": torch.__version__,
        "matrix_flops": flops,
        "copied_bytes_per_second": bandwidth,
        "tokens": sizes.tokens,
        "documents": sizes.documents,
        "new": sizes.new,
        "rows": rows,
        "command": "python benchmarks/gpu.py",
    }


def device() -> torch.device:
    """The card, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def finish() -> None:
    """Wait until the card has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def begin() -> None:
    """Forget earlier peaks of memory."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> int:
    """Most bytes that were allocated since `begin`; 0 on a processor."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def seconds_of(run: Callable[[], Any]) -> float:
    """Median of a few runs after one."""
    run()
    found = []
    for _ in range(NUM_RUNS):
        finish()
        started = time.perf_counter()
        run()
        finish()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def ceilings() -> tuple[float, float]:
    """FLOPs a second of a large bfloat16 matrix product, and bytes read and written a second by a copy."""
    side = 8192 if torch.cuda.is_available() else 512
    left, right = (torch.randn(side, side, device=device(), dtype=torch.bfloat16) for _ in range(2))
    product = seconds_of(lambda: [left @ right for _ in range(10)]) / 10
    source = torch.randn(2**30 if torch.cuda.is_available() else 2**22, device=device())
    target = torch.empty_like(source)
    copy = seconds_of(lambda: target.copy_(source))
    return 2 * side**3 / product, 2 * source.numel() * source.element_size() / copy


def dual_model(shape: Shape) -> DualModel:
    """The shape with random weights in 16 bits, LoRA on every linear layer and a class head."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_key_heads,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    with device():
        base = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    adapted = adapter.add_lora(base.eval(), rank=RANK, alpha=2.0 * RANK, dropout=0.0, targets=None)
    return DualModel(adapted, ClassHead(shape.width, 2), tuning="lora").to(device())


def as_activated(model: DualModel) -> DualModel:
    """The same weights, the adapter acting from the decision position on."""
    return DualModel(model.language_model, model.head, tuning="activated", starts_at="decision")


def training(model: DualModel, shape: Shape, sizes: Sizes, *, name: str, batch: int) -> dict[str, Any]:
    """Steps of the product's trainer."""
    num_prompt = sizes.tokens - NUM_TARGET
    rows = [row_of(row, num_prompt, NUM_TARGET, document_end=num_prompt - 64) for row in range(2 * batch)]
    settings = TrainSettings(max_steps=WARM_STEPS + NUM_STEPS, batch_size=batch, log_steps=1000)
    clock = Clock()
    begin()
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(settings, Path(folder), has_validation=False)
        arguments.save_strategy = "no"
        DualTrainer(
            model,
            arguments,
            train_rows=rows,
            validation_rows=[],
            objective=objective_of(settings, None),
            pad_id=0,
            callbacks=[clock],
        ).train()
    ends = clock.ends[WARM_STEPS - 1 :]
    seconds = statistics.median(after - before for before, after in pairwise(ends))
    num_tokens = batch * (sizes.tokens - 1)  # the last target is predicted, never read
    is_activated = model.starts_at is not None
    forward = shape.forward_flops(sizes.tokens)
    back = forward * (NUM_TARGET / sizes.tokens if is_activated else 1)
    return {
        "row": f"{name}, {batch} a step",
        "what": "training",
        "tokens_per_second": num_tokens / seconds,
        "seconds": seconds,
        "flops_per_second": batch * (forward + back) / seconds,
        "peak_bytes": peak(),
    }


def prompts_of(sizes: Sizes, vocabulary: int) -> list[Prompt]:
    """Documents of random ids, all as long."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(50, min(vocabulary, 100_000), (sizes.documents, sizes.tokens), generator=draw)
    return [Prompt(row, 0, 0) for row in ids.tolist()]


def reading(model: DualModel, shape: Shape, sizes: Sizes) -> list[dict[str, Any]]:
    """Class logits of all documents, by the engine and by the stock forward of the body with the same head."""
    prompts = prompts_of(sizes, shape.vocabulary)
    engine = FastEngine(model, pad_id=0, end_id=-1)
    size = max(READ_TOKENS // sizes.tokens, 1)
    parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]

    def ours() -> torch.Tensor:
        return torch.cat([engine.class_logits(part) for part in parts])

    @torch.inference_mode()
    def stock() -> torch.Tensor:
        body = backbone.body_of(model.language_model)
        found = []
        for part in parts:
            ids = torch.tensor([prompt.ids for prompt in part], device=device())
            hidden_BD = body(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
            found.append(model.head(hidden_BD).cpu())
        return torch.cat(found)

    apart = float((ours().softmax(-1) - stock().softmax(-1)).abs().max())
    forward = sizes.documents * shape.forward_flops(sizes.tokens)
    rows = []
    for name, run in (("clsgen", ours), ("stock forward", stock)):
        begin()
        seconds = seconds_of(run)
        rows.append(
            {
                "row": f"classify, {name}",
                "what": "reading",
                "documents_per_second": sizes.documents / seconds,
                "tokens_per_second": sizes.documents * sizes.tokens / seconds,
                "seconds": seconds,
                "flops_per_second": forward / seconds,
                "peak_bytes": peak(),
                "probability_apart": apart,
            }
        )
    return rows


def writing(model: DualModel, shape: Shape, sizes: Sizes) -> list[dict[str, Any]]:
    """Read once for both heads and write, every document to the same length; beside stock `generate` alone."""
    prompts = prompts_of(sizes, shape.vocabulary)
    engine = FastEngine(model, pad_id=0, end_id=-1, has_lookup=False)
    size = max(READ_TOKENS // sizes.tokens, 1)
    parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    language_model = backbone.base_of(model.language_model)
    settings = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}

    def read(count: int) -> Iterator[Part]:
        for part in parts[: max(count // size, 1)]:
            num = min(count, len(part))
            keys = [prompts.index(prompt) for prompt in part[:num]]
            yield Part(keys, engine.prefill(part[:num]), [[60]] * num, [sizes.new] * num)

    def ours(count: int) -> None:
        found = dict(engine.write(read(count)))
        assert len(found) == count

    def stock(count: int) -> None:
        ids = torch.tensor([prompt.ids for prompt in prompts[:count]], device=device())
        language_model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=sizes.new, min_new_tokens=sizes.new, **settings
        )

    rows = []
    for count in (sizes.documents, 1):
        alone = seconds_of(lambda count=count: list(read(count)))  # type: ignore[misc]
        for name, run in ((BOTH, ours), (TEXT_ALONE, stock)):
            begin()
            seconds = seconds_of(lambda run=run, count=count: run(count))  # type: ignore[misc]
            rows.append(
                {
                    "row": f"explain {count} together, {name}",
                    "what": "writing",
                    "documents_per_second": count / seconds,
                    "seconds": seconds,
                    "read_seconds": alone,
                    "written_per_second": count * sizes.new / max(seconds - alone, 1e-9),
                    "bytes_per_second": shape.step_bytes(count, sizes.tokens) * sizes.new / max(seconds - alone, 1e-9),
                    "peak_bytes": peak(),
                }
            )
    return rows


if __name__ == "__main__":
    main()
