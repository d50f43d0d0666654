"""`clsgen export`: a trained model in another tool's form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clsgen.cli.console import console, quiet_libraries


def export(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")],
    form: Annotated[
        Literal["folded", "seqcls", "causal-lm", "peft"],
        typer.Option(
            "--format",
            help="folded: both heads in one stock causal model, for vLLM, SGLang, llama.cpp. seqcls: a stock sequence "
            "classifier. causal-lm: the language head alone. peft: adapter and head.",
        ),
    ] = "folded",
    refit: Annotated[
        bool,
        typer.Option("--refit", help="seqcls: fit a temperature for the export, where the calibrator has biases."),
    ] = False,
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
) -> None:
    """Write the model in a form that other tools read, after comparing probabilities on calibration rows."""
    from clsgen.pipeline.export import export_run

    quiet_libraries()
    found = export_run(run, form, output, is_refit=refit, base=base).parity
    what = "next-token probabilities" if form == "causal-lm" else "probabilities"
    console.print(
        f"{form} -> {output}: {what} of {found.num_rows} calibration rows differ by at most {found.largest:.2g} "
        f"(mean {found.mean:.2g}; {found.tolerance:g} is let through)"
        + ("." if form == "causal-lm" else f", {found.num_decided_otherwise} decisions changed."),
        soft_wrap=True,
    )
    if found.refit is not None:
        console.print(
            "That is of the temperature fitted for this export. From the run's own probabilities it differs by "
            f"at most {found.refit.largest:.2g} (mean {found.refit.mean:.2g}), "
            f"{found.refit.num_decided_otherwise} decisions changed: the card says so.",
            soft_wrap=True,
        )
