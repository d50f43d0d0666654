"""`clsgen quickstart`: the whole path on small data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.panel import Panel
from rich.text import Text

from clsgen.cli.console import console, metrics_table, quiet_libraries, row_progress
from clsgen.types import CONTRACT_SENTENCE

if TYPE_CHECKING:
    from clsgen.pipeline.quickstart import Shown


def quickstart(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the runs; earlier quickstarts in it are replaced.")
    ] = (Path("runs/quickstart")),
) -> None:
    """Train, calibrate, predict and judge on generated notes, and on CliniFact where it is at hand: no download."""
    from clsgen.cli.training_display import TrainingDisplay
    from clsgen.pipeline.quickstart import check_free, quickstart_configs
    from clsgen.pipeline.quickstart import quickstart as run_quickstart

    quiet_libraries()
    configs = quickstart_configs(output)
    check_free(configs, output)
    if len(configs) == 1:
        console.print("CliniFact's files are not at hand: on generated notes alone (docs/how-to/tasks.md).")
    for config in configs:
        console.rule(str(config.data.task))
        with row_progress("predicting") as on_progress:
            shown = run_quickstart(config, callbacks=[TrainingDisplay()], notify=console.print, on_progress=on_progress)
        _show(shown)


def _show(shown: Shown) -> None:
    """The table, then one test row: its text, its probability, its reason."""
    example, prediction, positive = shown.example, shown.prediction, shown.result["positive"]
    console.print(metrics_table(shown.result))
    read = "\n\n".join(text for text in (example.document, example.question) if text)
    console.print(Panel(Text(read), title="a test row", expand=False))
    answer = Text()
    answer.append(f"P({positive}) = {prediction.probs[positive]:.2f}", style="bold")
    answer.append(f"   decided: {prediction.decision} (threshold {prediction.threshold:.2f})")
    answer.append(f"   label: {example.label}")
    if "risk" in example.metadata:
        answer.append(f", true risk {example.metadata['risk']:.2f}")
    answer.append(f"\n\n{prediction.explanation}\nThe text's answer: {prediction.stated_label or 'none'}")
    answer.append(f"\n\n{CONTRACT_SENTENCE}", style="dim")
    console.print(Panel(answer, title="the probability, then the reason", expand=False))
    if (rli := shown.result["explanations"]["rli"]["value"]) is not None:
        here = "this is one of them" if prediction.agreement else "this is none of them"
        console.print(f"The text's answer is the decision on {1 - rli:.0%} of the explained test rows; {here}.")
    for name in ("metrics.json", "predictions.jsonl", "model"):
        console.print(f"{name}: {shown.run / name}", soft_wrap=True)
