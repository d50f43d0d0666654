"""`clsgen predict`: a file in, probabilities and reasons out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from clsgen.cli.console import console, quiet_libraries, row_progress
from clsgen.errors import ConfigError
from clsgen.inference.partial import Wanted
from clsgen.pipeline.model_folder import columns_of
from clsgen.pipeline.predict_blocks import PredictedFile, Work, predict_many


def predict(
    source: Annotated[
        str,
        typer.Argument(help="csv, tsv, jsonl(.gz), parquet, a datasets directory; folder or glob of parquet or jsonl."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The jsonl file to write; a folder for a run that asks several questions. ray: .jsonl, .parquet, or "
            "a folder of parquet files.",
        ),
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
        Literal["auto", "local", "plain", "ray"],
        typer.Option(
            help="In this process: auto or local, the fast engine where it can; plain, the readable reference. "
            "ray: in one process a GPU or core, for many rows."
        ),
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="ray: at most so many processes; by default one a GPU, else one a core.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
) -> None:
    """Give each text a calibrated probability and, where asked for, a reason; run again to go on after a kill."""
    if not (model / "clsgen.json").is_file() and (model / "model").is_dir():
        model = model / "model"
    given = {"text": text, "question": question, "label": label, "group": group, "id": row_id}
    columns = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v}
    wanted = Wanted(explain, mode, _prior(prior))
    if engine == "ray":
        work = Work(model, source, output, columns_of(model).model_copy(update=columns), wanted, base)
        with row_progress("predicting") as on_progress:
            found = predict_many(work, num_workers=workers, on_progress=on_progress)
    else:
        if workers is not None:
            raise ConfigError("predict: --workers goes with --engine ray. Leave it out, or name that engine.")
        kind: Literal["auto", "plain"] = "plain" if engine == "plain" else "auto"
        found = _predict_here(Here(model, source, output, base, kind), columns, wanted, has_label=label is not None)
    resumed = f" ({found.num_resumed} found done)" if found.num_resumed else ""
    console.print(f"{found.num_rows} rows{resumed} -> {output}", soft_wrap=True)
    if found.dropped:
        console.print("Left out: " + ", ".join(f"{count} {reason}" for reason, count in found.dropped.items()) + ".")


class Here(NamedTuple):
    """model and base: what predicts, by which kind of engine. source, output: from where to where."""

    model: Path
    source: str
    output: Path
    base: str | None
    kind: Literal["auto", "plain"]


def _predict_here(place: Here, columns: Mapping[str, object], wanted: Wanted, *, has_label: bool) -> PredictedFile:
    """Predict in this process."""
    from clsgen.inference.panel import Panel, question_folders
    from clsgen.inference.predictor import Classifier
    from clsgen.pipeline.predict import predict_panel, predict_source, rows_of_panel

    quiet_libraries()
    model, source, output, base, kind = place
    if output.suffix.lower() == ".parquet":
        raise ConfigError("predict: --output must be a jsonl file in this process; --engine ray writes parquet.")
    explain, mode, prior = wanted
    with row_progress("predicting") as on_progress:
        if question_folders(model):
            _check_panel(has_label=has_label, has_prior=prior is not None)
            panel = Panel.from_pretrained(model, base=base, engine=kind)
            rows = rows_of_panel(panel, source, columns)
            return predict_panel(panel, rows, output, explain=(explain, mode), on_progress=on_progress)
        return predict_source(
            Classifier.from_pretrained(model, base=base, engine=kind),
            model,
            source,
            output,
            columns=columns_of(model).model_copy(update=columns),
            explain=explain,
            mode=mode,
            prior=prior,
            on_progress=on_progress,
        )


def _check_panel(*, has_label: bool, has_prior: bool) -> None:
    """Refuse what is one question's own."""
    for name, is_given in (("--label", has_label), ("--prior", has_prior)):
        if is_given:
            raise ConfigError(
                f"predict: {name} belongs to one question, and this run asks several. Leave it out, or give the model "
                "of one: RUN/questions/NAME."
            )


def _prior(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"predict: --prior must be numbers joined by commas; got {text!r}. Write 0.95,0.05."
        ) from None
