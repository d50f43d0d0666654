"""Eight GPUs and a hundred million documents, on paper: predictions from counted FLOPs and bytes and measured costs.

    python benchmarks/predict_scale.py            # measures what a core can show; writes docs/benchmarks/scale.md
    python benchmarks/predict_scale.py --page     # from the figures that are there

What runs on the GPUs is counted as in predict_gpu.py, at the utilisations that gpu.py measured on one. What runs beside
them (planning, tokenizing, writing) is measured here on one core, and what a second process and Ray cost is read from
processes.json and ray.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoTokenizer

from clsgen.artifacts import write_json_atomic, write_text_atomic
from clsgen.config.data import ColumnSettings
from clsgen.data.plan import plan_blocks
from clsgen.data.prediction_table import parquet_bytes, schema_of
from clsgen.data.predictions import to_record
from clsgen.model.embedded import EMBEDDED_FOLDER
from clsgen.types import Example, Prediction
from models import documents_file, read_documents
from predict_gpu import BATCH, BOTH, OURS_READ, Shape, of_device
from predict_gpu import FIGURES as GPU_FIGURES

FIGURES, PAGE = Path("docs/benchmarks/scale.json"), Path("docs/benchmarks/scale.md")
NUM_MEASURED = 4000
NUM_DOCUMENTS, NUM_GPUS, EXPLAINED, NEW_TOKENS = 100_000_000, 8, 0.1, 120
NVLINK, NETWORK = 450e9, 50e9
"""Bytes a second that a GPU sends: to the others of its machine, and to other machines (400 Gb/s a GPU)."""
DOLLARS_A_GPU_HOUR = 3.0
"""Assumed; put in your own."""


def main() -> None:
    """Measure, compute, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true")
    if not parser.parse_args().page:
        write_json_atomic(FIGURES, measured())
    write_text_atomic(PAGE, page(json.loads(FIGURES.read_text(encoding="utf-8"))))
    print(PAGE.read_text(encoding="utf-8"))


def measured() -> dict[str, float]:
    """What one core does, and what a row takes, on documents of log-normal length."""
    texts = read_documents(str(documents_file(NUM_MEASURED)))
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)
    started = time.process_time()
    num_tokens = sum(len(tokenizer(text)["input_ids"]) for text in texts)
    tokenizing_s = time.process_time() - started
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        source.write_text(
            "".join(json.dumps({"id": f"r{at}", "text": text}) + "\n" for at, text in enumerate(texts)),
            encoding="utf-8",
        )
        columns = ColumnSettings(text=["text"], id="id")
        started = time.process_time()
        plan_blocks(str(source), columns, labels=None, block_rows=1024)
        planning_s = time.process_time() - started
        tracemalloc.start()
        plan = plan_blocks(str(source), columns, labels=None, block_rows=1024)
        held_bytes, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert plan.num_rows == len(texts)
    answers = [
        Prediction(f"row-{at}", {"no": 1 - at / len(texts), "yes": at / len(texts)}, (0.0, 1 / (1 + at)), "no", 0.5)
        for at in range(len(texts))
    ]
    examples = [Example(f"row-{at}", text) for at, text in enumerate(texts)]
    table = parquet_bytes(answers, examples, schema_of(("no", "yes"), "0" * 64))
    return {
        "tokens_a_document": num_tokens / len(texts),
        "bytes_a_document": sum(len(text.encode()) for text in texts) / len(texts),
        "tokens_a_core_second": num_tokens / tokenizing_s,
        "planned_a_core_second": len(texts) / planning_s,
        "planned_bytes_held": held_bytes / len(texts),
        "planned_bytes_peak": peak_bytes / len(texts),
        "line_bytes": sum(len(json.dumps(to_record(each))) + 1 for each in answers) / len(answers),
        "parquet_bytes": len(table) / len(answers),
    }


def beside(file: str) -> dict[str, Any] | None:
    """The first row of other benchmarks' figures; None where they were not measured."""
    path = FIGURES.with_name(file)
    return json.loads(path.read_text(encoding="utf-8"))["rows"][0] if path.exists() else None


class Gpu(NamedTuple):
    """FLOPs a second in reading and in training with LoRA, and seconds of a written step of BATCH rows, as measured."""

    name: str
    read_flops: float
    train_flops: float
    step_s: float


def gpu() -> Gpu:
    """What gpu.py found."""
    found = json.loads(GPU_FIGURES.read_text(encoding="utf-8"))
    rows = {row["row"]: row for row in found["rows"]}
    step_s = BATCH / rows[f"explain {BATCH} together, {BOTH}"]["written_per_second"]
    read, train = (rows[name]["flops_per_second"] for name in (OURS_READ, "LoRA, 1 a step"))
    return Gpu(of_device(found).name, read, train, step_s)


def training(shape: Shape) -> list[str]:
    """Lines of the table of training: exchange against arithmetic."""
    lines = []
    flops = shape.forward_flops(4096) / 4096
    whole = 2 * (shape.body + shape.width * shape.vocabulary)
    kinds = {
        "LoRA, each GPU a copy": (2 * flops, 2 * 4 * shape.adapter),  # sum of fp32 gradients: out and back
        "LoRA, weights in shards": (2 * flops, 2 * whole + 2 * 4 * shape.adapter),  # fetched forward and backward
        "full tuning, everything in shards": (3 * flops, 2 * whole + 2 * whole),  # and fp32 gradients to their owners
    }
    for name, (flops_a_token, num_bytes) in kinds.items():
        rate = gpu().train_flops / flops_a_token
        cells = []
        for speed, num_gpus in ((NVLINK, NUM_GPUS), (NETWORK, 8 * NUM_GPUS)):
            exchange_s = num_bytes * (num_gpus - 1) / num_gpus / speed
            share = exchange_s / (exchange_s + 32_768 / rate)
            cells += [f"{1000 * exchange_s:,.1f} ms", f"{1 - share:.1%}", f"{exchange_s * rate * 19:,.0f}"]
        lines.append(f"| {name} | {num_bytes / 1e9:.2f} GB | {NUM_GPUS * rate:,.0f} | {' | '.join(cells)} |")
    return lines


def predicting(shape: Shape, found: dict[str, float]) -> tuple[list[str], float]:
    """Lines of the table of predicting, and documents a second and GPU when none is explained."""
    one = gpu()
    read_s = shape.forward_flops(round(found["tokens_a_document"])) / one.read_flops
    write_s = NEW_TOKENS * one.step_s / BATCH
    lines = []
    for name, share in (
        ("probabilities alone", 0.0),
        (f"{EXPLAINED:.0%} explained", EXPLAINED),
        ("all explained", 1.0),
    ):
        each_s = read_s + share * write_s
        hours = NUM_DOCUMENTS * each_s / 3600
        lines.append(
            f"| {name} | {1 / each_s:,.0f} | {hours:,.0f} | {hours / NUM_GPUS:,.0f} h | "
            f"{DOLLARS_A_GPU_HOUR * hours:,.0f} |"
        )
    return lines, 1 / read_s


def page(found: dict[str, float]) -> str:
    """The page."""
    return "\n".join([*_training_part(Shape()), *_predicting_part(Shape(), found), *_limits_part(Shape(), found)])


def _training_part(shape: Shape) -> list[str]:
    processes = beside("processes.json")
    return [
        "# Eight GPUs and a hundred million documents, on paper",
        "",
        "**More than one GPU was never run.** FLOPs and bytes are counted for a Llama-3.1-8B-shaped model on "
        f"{gpu().name} cards, at the rates that [one of them reached](gpu.md); what runs beside the GPUs was measured "
        "on a core of this project's machine, with the embedded tokenizer. `python benchmarks/predict_scale.py` made "
        "it.",
        "",
        "## Training",
        "",
        "A step of 32,768 tokens a GPU. What is exchanged is not overlapped with arithmetic here, so the truth lies "
        f"above. In one machine: {NUM_GPUS} GPUs that send {NVLINK / 1e9:.0f} GB/s each. In eight machines: "
        f"{8 * NUM_GPUS} GPUs at {NETWORK / 1e9:.0f} GB/s each.",
        "",
        "| | a GPU sends in a step | tokens/s of 8 GPUs | one machine: exchange | efficiency | 95% from tokens a GPU "
        "and step | eight machines: exchange | efficiency | 95% from |",
        "|---|---|---|---|---|---|---|---|---|",
        *training(shape),
        "",
        "LoRA's exchange is small enough for any network: it saturates where a step has too few tokens for each GPU, "
        "that is where the batch which the optimizer bears is spread too thin. 128 documents of 4,096 tokens keep 16 "
        "GPUs at full steps. Sharding pays for memory, not for speed: 16 GB of frozen weights fit one card, so LoRA "
        "needs it from models of some 60 billion parameters on.",
        "",
        *([] if processes is None else [f"What the code itself costs: {_said(processes)}", ""]),
    ]


def _predicting_part(shape: Shape, found: dict[str, float]) -> list[str]:
    lines, rate = predicting(shape, found)
    tokens, ray = found["tokens_a_document"], beside("ray.json")
    cores = NUM_GPUS * rate * tokens / found["tokens_a_core_second"]

    def of_all(name: str, key: str) -> str:
        return f"| {name} | {found[key]:,.0f} bytes | {found[key] * NUM_DOCUMENTS / 1e9:,.1f} GB |"

    return [
        f"## {NUM_DOCUMENTS:,} documents",
        "",
        f"{tokens:,.0f} tokens a document in the mean (log-normal, median some 600), reasons of {NEW_TOKENS} tokens, "
        f"{DOLLARS_A_GPU_HOUR:.0f} dollars a GPU hour assumed.",
        "",
        f"| | documents/s and GPU | GPU hours | {NUM_GPUS} GPUs | dollars |",
        "|---|---|---|---|---|",
        *lines,
        "",
        "| beside the GPUs | a document | all of them |",
        "|---|---|---|",
        of_all("input", "bytes_a_document"),
        of_all("output without reasons, jsonl", "line_bytes"),
        of_all("output without reasons, parquet", "parquet_bytes"),
        f"| planning, by one process before the GPUs begin | {1e6 / found['planned_a_core_second']:,.0f} µs | "
        f"{planning_hours(found):,.1f} h |",
        of_all("the plan, held", "planned_bytes_held"),
        of_all("the plan, while ties are joined", "planned_bytes_peak"),
        f"| tokenizing | {1e6 * tokens / found['tokens_a_core_second']:,.0f} µs of a core | {cores:,.1f} cores keep "
        f"{NUM_GPUS} GPUs busy |",
        "",
        *([] if ray is None else [f"What Ray itself costs: {_said(ray)}", ""]),
    ]


def _limits_part(shape: Shape, found: dict[str, float]) -> list[str]:
    _, rate = predicting(shape, found)
    hours, gpu_hours = planning_hours(found), NUM_DOCUMENTS / rate / 3600
    return [
        "## Where it saturates",
        "",
        f"- **The plan.** It is read by one process, once: {hours:,.1f} hours for all documents. That is "
        f"{hours * NUM_GPUS / gpu_hours:.1%} of what {NUM_GPUS} GPUs take, and as long as {gpu_hours / hours:,.0f} "
        f"GPUs need. Beyond that, and where {found['planned_bytes_peak'] * NUM_DOCUMENTS / 1e9:,.0f} GB of memory are "
        "not at hand, split the input and run the parts apart: rows of different runs are not tied together.",
        f"- **Reasons.** A step takes {1000 * gpu().step_s:.0f} ms with {BATCH} rows, most of it spent on launching "
        "kernels, so that more rows at a time are nearly free until memory ends. `--explain uncertain` is the lever.",
        "- **The output** is joined by one process. At these sizes a disk of 200 MB/s is far faster than the GPUs.",
        "- **Judging.** [Evaluation](evaluation.md) takes time and memory in proportion to the rows. A sample of a "
        "million gives the AUROC to a thousandth.",
        "",
    ]


def planning_hours(found: dict[str, float]) -> float:
    """Of all documents."""
    return NUM_DOCUMENTS / found["planned_a_core_second"] / 3600


def _said(row: dict[str, Any]) -> str:
    """A measured row in a sentence."""
    return f"{row['row']}, {row['measures']}, {row['direction']}: {row['ratio']:.2f} (`{row['command']}`)."


if __name__ == "__main__":
    main()
