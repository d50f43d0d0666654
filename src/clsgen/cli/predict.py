"""`clsgen predict`: a file in, probabilities and reasons out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from clsgen.cli.console import console, quiet_libraries, row_progress
from clsgen.cli.models import MODEL_HELP, Revision
from clsgen.errors import ConfigError
from clsgen.inference.partial import Wanted
from clsgen.model.hub import find_model
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
    model: Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)],
    explain: Annotated[
        Literal["none", "all", "uncertain", "positive"], typer.Option(help="For which rows a reason is written.")
    ] = "none",
    mode: Annotated[Literal["free", "decision"], typer.Option(help="Explanation mode.")] = "free",
    text: Annotated[list[str] | None, typer.Option(help="Column(s) of the document; by default the run's.")] = None,
    question: Annotated[str | None, typer.Option(help="Column of the question.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label, copied to the output where known.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Column(s) that tie rows together.")] = None,
    row_id: Annotated[str | None, typer.Option("--id", help="Column of the id.")] = None,
    prior: Annotated[str | None, typer.Option(help="Prevalence of each label there, in their order: 0.95,0.05")] = None,
    engine: Annotated[
        Literal["auto", "local", "plain", "ray", "openai"],
        typer.Option(
            help="In this process: auto or local, the fast engine where it can; plain, the readable reference. "
            "ray: in one process a GPU or core, for many rows. openai: a server of the model's folded export."
        ),
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="ray: at most so many processes; by default one a GPU, else one a core.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="openai: the server's address, such as http://localhost:8000/v1; its key is OPENAI_API_KEY."),
    ] = None,
    served_name: Annotated[
        str | None, typer.Option(help="openai: what the server calls the model; by default the folder's name.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
    revision: Revision = None,
) -> None:
    """Give each text a calibrated probability and, where asked for, a reason; run again to go on after a kill."""
    columns = _given(text=text, question=question, label=label, group=group, id=row_id)
    wanted = Wanted(explain, mode, _prior(prior))
    _check_engine(engine, workers, endpoint)
    folder = find_model(model, revision)
    work = Work(folder, source, output, columns_of(folder, source).model_copy(update=columns), wanted, base)
    if engine == "ray":
        with row_progress("predicting") as on_progress:
            _tell(predict_many(work, num_workers=workers, on_progress=on_progress), output)
    elif engine == "openai":
        _tell(_predict_there(work, endpoint, served_name), output)
    else:
        here = Here(folder, source, output, base, "plain" if engine == "plain" else "auto")
        _tell(_predict_here(here, columns, wanted, has_label=label is not None), output)


def _given(**columns: str | list[str] | None) -> dict[str, object]:
    """What was named of the columns."""
    return {name: tuple(given) if isinstance(given, list) else given for name, given in columns.items() if given}


def _check_engine(engine: str, workers: int | None, endpoint: str | None) -> None:
    """Refuse options of an engine that is not the one named."""
    for name, value, its in (("--workers", workers, "ray"), ("--endpoint", endpoint, "openai")):
        if value is not None and engine != its:
            raise ConfigError(f"predict: {name} goes with --engine {its}. Leave it out, or name that engine.")


def _tell(found: PredictedFile, output: Path) -> None:
    resumed = f" ({found.num_resumed} found done)" if found.num_resumed else ""
    console.print(f"{found.num_rows} rows{resumed} -> {output}", soft_wrap=True)
    if found.dropped:
        console.print("Left out: " + ", ".join(f"{count} {reason}" for reason, count in found.dropped.items()) + ".")


def _predict_there(work: Work, endpoint: str | None, served_name: str | None) -> PredictedFile:
    """Let a server of the folded model read and write."""
    from clsgen.pipeline.predict import predict_source
    from clsgen.pipeline.stock import StockClassifier

    if endpoint is None:
        raise ConfigError("predict: --engine openai needs the server's address: --endpoint http://localhost:8000/v1")
    quiet_libraries()
    explain, mode, prior = work.wanted
    key = os.environ.get("OPENAI_API_KEY")
    with (
        StockClassifier(work.model, endpoint, model=served_name, api_key=key) as classifier,
        row_progress("predicting") as on_progress,
    ):
        return predict_source(
            classifier,
            work.model,
            work.source,
            work.output,
            columns=work.columns,
            explain=explain,
            mode=mode,
            prior=prior,
            on_progress=on_progress,
        )


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
            columns=columns_of(model, source).model_copy(update=columns),
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
