"""`clsgen predict`: a file in, probabilities and reasons out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clsgen.cli.console import console, quiet_libraries, row_progress
from clsgen.errors import ConfigError
from clsgen.inference.panel import Panel, question_folders
from clsgen.inference.predictor import Classifier
from clsgen.pipeline.predict import columns_of, predict_panel, predict_source, rows_of_panel


def predict(
    source: Annotated[str, typer.Argument(help="csv, tsv, jsonl(.gz), parquet or a datasets directory.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The jsonl file to write; a folder for a run that asks several questions."),
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="Model directory, or the run directory that holds it.")],
    explain: Annotated[
        Literal["none", "all", "uncertain", "positive"], typer.Option(help="For which rows a reason is written.")
    ] = "none",
    mode: Annotated[Literal["free", "decision"], typer.Option(help="Explanation mode.")] = "free",
    text: Annotated[
        list[str] | None, typer.Option(help="Column(s) of the document; by default those of the model's run.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="Column of the question.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label, copied to the output where known.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Column(s) that tie rows together.")] = None,
    row_id: Annotated[str | None, typer.Option("--id", help="Column of the id.")] = None,
    prior: Annotated[
        str | None, typer.Option(help="Prevalence of each label at this site, in the order of the labels: 0.95,0.05")
    ] = None,
    engine: Annotated[
        Literal["auto", "plain"],
        typer.Option(help="plain: the readable reference; auto: the fast one where it can."),
    ] = "auto",
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
) -> None:
    """Give each text a calibrated probability and, where asked for, a reason; run again to go on after a kill."""
    quiet_libraries()
    if not (model / "clsgen.json").is_file() and (model / "model").is_dir():
        model = model / "model"
    given = {"text": text, "question": question, "label": label, "group": group, "id": row_id}
    columns = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v}
    with row_progress("predicting") as on_progress:
        if question_folders(model):
            _check_panel(label, prior)
            panel = Panel.from_pretrained(model, base=base, engine=engine)
            rows = rows_of_panel(panel, source, columns)
            found = predict_panel(panel, rows, output, explain=(explain, mode), on_progress=on_progress)
        else:
            found = predict_source(
                Classifier.from_pretrained(model, base=base, engine=engine),
                model,
                source,
                output,
                columns=columns_of(model).model_copy(update=columns),
                explain=explain,
                mode=mode,
                prior=_prior(prior),
                on_progress=on_progress,
            )
    resumed = f" ({found.num_resumed} found done)" if found.num_resumed else ""
    console.print(f"{found.num_rows} rows{resumed} -> {output}", soft_wrap=True)
    if found.dropped:
        console.print("Left out: " + ", ".join(f"{count} {reason}" for reason, count in found.dropped.items()) + ".")


def _check_panel(label: str | None, prior: str | None) -> None:
    """Refuse what is one question's own."""
    for name, value in (("--label", label), ("--prior", prior)):
        if value is not None:
            raise ConfigError(
                f"predict: {name} belongs to one question, and this run asks several. Leave it out, or give the model "
                "of one: RUN/questions/NAME."
            )


def _prior(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"predict: --prior must be numbers joined by commas; got {text!r}. Write 0.95,0.05."
        ) from None
