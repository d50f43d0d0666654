"""`clsgen quickstart`: the whole path on generated notes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.panel import Panel
from rich.text import Text

from clsgen.cli.display import TrainingDisplay, console, metrics_table, quiet_libraries, row_progress
from clsgen.pipeline.quickstart import quickstart as run_quickstart
from clsgen.types import CONTRACT_SENTENCE


def quickstart(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Run directory; an earlier quickstart is replaced.")
    ] = (Path("runs/quickstart")),
) -> None:
    """Generate notes, train a small model from scratch, calibrate, predict and judge it: minutes, no download."""
    quiet_libraries()
    with row_progress("predicting") as on_progress:
        shown = run_quickstart(output, callbacks=[TrainingDisplay()], notify=console.print, on_progress=on_progress)
    console.print(metrics_table(shown.result))
    prediction = shown.prediction
    positive = shown.result["positive"]
    console.print(Panel(Text(shown.example.document), title="a test note", expand=False))
    answer = Text()
    answer.append(f"P({positive}) = {prediction.probs[positive]:.2f}", style="bold")
    answer.append(f"   decided: {prediction.decision} (threshold {prediction.threshold:.2f})")
    answer.append(f"   true risk {shown.example.metadata['risk']:.2f}, outcome: {shown.example.label}\n\n")
    answer.append(str(prediction.explanation))
    answer.append(f"\n\n{CONTRACT_SENTENCE}", style="dim")
    console.print(Panel(answer, title="the probability, then the reason", expand=False))
    if (rli := shown.result["explanations"]["rli"]["value"]) is not None:
        console.print(f"Text and decision agree on {1 - rli:.0%} of the test notes; this is one of them.")
    for name in ("metrics.json", "predictions.jsonl", "model"):
        console.print(f"{name}: {shown.run / name}", soft_wrap=True)
