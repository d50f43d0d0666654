"""The benchmarks: clsgen beside what people use, in turn, in one run.

    python -m venv benchmarks/.venv && benchmarks/.venv/bin/pip install -c constraints.txt -r benchmarks/peers.txt
    python benchmarks/run.py                       # every row
    python benchmarks/run.py --rows classify-256   # some
    python benchmarks/run.py --page                # docs/benchmarks/cpu.md from the figures that are there

Rows are merged into docs/benchmarks/cpu.json by name and peer. Peers run under benchmarks/.venv, or under the
interpreter that CLSGEN_PEERS_PYTHON names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from clsgen.artifacts import write_json_atomic, write_text_atomic
from harness import PEERS, Row, Side, measure
from models import base_folder, documents_file, model_folder

FIGURES = Path("docs/benchmarks/cpu.json")
PAGE = Path("docs/benchmarks/cpu.md")


def rows(num_documents: int) -> list[Row]:
    """Every row; models and documents are made where they are not there."""
    small = str(model_folder(3072))
    documents = str(documents_file(num_documents))
    found = [
        Row(
            f"classify-{num_tokens}",
            "the bare backbone's forward",
            Side("rows.inference:classify_ids", {"model": small, "num_tokens": num_tokens}),
            Side("rows.peers:forward", {"model": small, "num_tokens": num_tokens}, is_peer=True),
            bar=0.95,
            is_speedup=False,
        )
        for num_tokens in (256, 1024, 4096)
    ]
    found += [
        Row(
            "classify-mixed",
            f"transformers pipeline, batch size {batch_size}",
            Side("rows.inference:classify_documents", {"model": small, "documents": documents}),
            Side(
                "rows.peers:classify_documents",
                {"model": small, "documents": documents, "batch_size": batch_size},
                is_peer=True,
            ),
            bar=bar,
        )
        for batch_size, bar in ((8, 3.5), (1, 1.1))
    ]
    for vocabulary, bar in ((32768, 2.3), (131072, 3.8)):
        batch = {"model": str(base_folder(vocabulary)), "num_rows": 2, "num_prompt": 1024, "num_target": 64}
        joint = Side("rows.training:joint_step", batch)
        fine_tunes = Side("rows.peers_training:two_fine_tunes", batch, is_peer=True)
        trl = Side("rows.peers_training:trl_step", batch, is_peer=True)
        found.append(Row(f"train-step-{vocabulary}", "two fine-tunes", joint, fine_tunes, bar=bar))
        found.append(Row(f"train-step-{vocabulary}", "TRL SFTTrainer", joint, trl, bar=1.0))
        if vocabulary > 100_000:
            found.append(
                Row("train-memory", "two fine-tunes", joint, fine_tunes, bar=0.25, is_speedup=False, is_memory=True)
            )
    batch = {"model": small, "num_rows": 4, "num_prompt": 1024, "num_target": 64}
    for starts_at in ("document_end", "decision"):
        activated = Side("rows.training:joint_step", {**batch, "starts_at": starts_at})
        name, ours = f"activated-{starts_at}", Side("rows.training:joint_step", batch)
        found.append(Row(name, "clsgen's own joint step", activated, ours, bar=2.0))
        found.append(
            Row(
                f"{name}-memory", "clsgen's own joint step", activated, ours, bar=0.45, is_speedup=False, is_memory=True
            )
        )
    both = {"model": small, "num_tokens": 1024, "num_new": 64}
    asked = {"model": small, "num_tokens": 2000, "num_questions": 10}
    return [
        *found,
        Row(
            "classify-and-explain",
            "stock generate of the explanation alone",
            Side("rows.inference:explain_ids", both),
            Side("rows.peers:generate_ids", both, is_peer=True),
            bar=1.03,
            is_speedup=False,
        ),
        Row(
            "ten-questions",
            "ten separate calls",
            Side("rows.inference:questions", {**asked, "is_together": True}),
            Side("rows.inference:questions", {**asked, "is_together": False}),
            bar=5.0,
        ),
    ]


def main() -> None:
    """Measure, keep, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--documents", type=int, default=200, help="Documents of the rows of mixed length.")
    parser.add_argument("--page", action="store_true", help="Make the page alone.")
    arguments = parser.parse_args()
    kept: list[dict[str, Any]] = json.loads(FIGURES.read_text(encoding="utf-8"))["rows"] if FIGURES.exists() else []
    if not arguments.page:
        if not PEERS.exists():
            parser.error(f"the peers' environment must be there ({PEERS}); install it as the help says")
        known = rows(arguments.documents)
        for row in known:
            if arguments.rows is not None and row.name not in arguments.rows:
                continue
            found = measure(row, num_runs=arguments.runs)
            kept = [*(each for each in kept if (each["row"], each["peer"]) != (row.name, row.peer_name)), found]
            print(f"{row.name} | {row.peer_name}: {found['ratio']:.3f} (bar {row.bar}, met {found['met']})", flush=True)
            order = {(each.name, each.peer_name): at for at, each in enumerate(known)}
            kept.sort(key=lambda each: order.get((each["row"], each["peer"]), len(order)))
            FIGURES.parent.mkdir(parents=True, exist_ok=True)
            write_json_atomic(FIGURES, {"machine": machine(), "rows": kept})
    write_text_atomic(PAGE, page(json.loads(FIGURES.read_text(encoding="utf-8"))))


def machine() -> dict[str, Any]:
    """What was measured on."""
    import torch  # noqa: PLC0415

    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "processor": cpu[0] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def page(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    about = ", ".join(f"{name} {value}" for name, value in figures["machine"].items())
    lines = [
        "# Benchmarks on a processor",
        "",
        f"Measured on: {about}. Each row runs clsgen and the other side in turn, in processes of their own, and shows",
        "the median of the ratios of neighbouring runs, and their spread.",
        "",
        "| row | held against | measures | ratio | spread | bar | met | output differs by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
        sign = ">=" if row["direction"] == "peer / clsgen" else "<="
        bar = "shown" if row["bar"] is None else f"{sign} {row['bar']}"
        met = {True: "yes", False: "no", None: ""}[row["met"]]
        other = row["difference"]
        text = "not compared" if other is None else other if isinstance(other, str) else f"{other:.1e}"
        lines.append(
            f"| {row['row']} | {row['peer']} | {row['measures']}, {row['direction']} | {row['ratio']:.2f} | {spread} | "
            f"{bar} | {met} | {text} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
