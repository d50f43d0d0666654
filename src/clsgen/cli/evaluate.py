"""`clsgen eval`: what a run's predictions, or anybody's, are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clsgen.cli.console import console, metrics_table, quiet_libraries, row_progress, subgroup_table
from clsgen.config.prediction import EvaluateSettings
from clsgen.data.prediction_columns import are_predictions
from clsgen.data.scores import ScoreColumns
from clsgen.errors import ConfigError
from clsgen.pipeline.evaluate_files import evaluate_file, evaluate_scores, evaluate_shards


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(help="Run directory, predictions (a jsonl file; parquet: a file, folder or glob), or a table."),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder that metrics.json goes to.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="Two classes: the positive label. jsonl: by default the second; table: 1.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Run directory: where the base weights are, if they moved.")] = None,
    prob: Annotated[
        list[str] | None,
        typer.Option(help="Table: column of the positive label's probability; or LABEL=COLUMN for every label."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Table: column of the known label.")] = None,
    group: Annotated[str | None, typer.Option(help="Table: column that ties rows together.")] = None,
    row_id: Annotated[str | None, typer.Option("--id", help="Table: column of the id, which must not repeat.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Table, two classes: positive from here upwards; by default 0.5.")
    ] = None,
    bootstrap: Annotated[int | None, typer.Option(help="Table: draws of each interval; by default 1,000.")] = None,
    figures: Annotated[
        str | None,
        typer.Option(help="Table: figures that are wanted, with commas; by default all, which takes longer."),
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Run: also cut what the reasons quote, and see the probability move.")
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Table: column, or run: metadata of the rows, to judge by apart (sex, site); repeatable."),
    ] = None,
) -> None:
    """Judge a run's test role (predicted first), predictions in jsonl or parquet, or columns of any table."""
    given = _given(
        prob=prob, label=label, group=group, id=row_id, threshold=threshold, bootstrap=bootstrap, figures=figures
    )
    folder = _output(source) if output is None else output
    written = [folder / "metrics.json"]
    if prob and label:
        _check_table(prob, label, by or (), refused={"--evidence": evidence, "--base": base is not None})
        columns = ScoreColumns(_columns(prob), label, group, row_id, positive, tuple(by or ()))
        settings = _settings(bootstrap, figures)
        result = evaluate_scores(
            source, folder, columns, settings=settings, threshold=0.5 if threshold is None else threshold
        )
    elif given:
        raise ConfigError(
            f"eval: {', '.join(given)} goes with a table, which needs --prob and --label. Name both columns, "
            "or leave it out."
        )
    elif source.is_dir() and not are_predictions(str(source)):
        if output is not None or positive is not None:
            raise ConfigError("eval: --output and --positive go with a file of predictions, not with a run directory.")
        _judge_run(source, by or (), base, is_removing=evidence)
        return
    else:
        result = _of_predictions(source, folder, positive, is_asking_more=bool(by) or evidence)
    _show(result, written, with_parts=bool(by))


def _output(source: Path) -> Path:
    """Where figures go that were told no place: beside what they are of."""
    folder = source.parent
    if not source.is_dir() and (folder / "config.yaml").is_file() and (folder / "model").is_dir():
        raise ConfigError(
            f"eval: {source.name} stands in a run, whose metrics.json it would overwrite. Judge the run, "
            f"clsgen eval {folder}, or name --output."
        )
    return folder


def _of_predictions(source: Path, folder: Path, positive: str | None, *, is_asking_more: bool) -> dict[str, Any]:
    """What predictions in files are worth."""
    is_sharded = are_predictions(str(source))
    if source.suffix.lower() in (".csv", ".tsv", ".parquet") and not is_sharded:
        raise ConfigError(f"eval: {source.name} is a table. Name its columns with --prob and --label.")
    if is_asking_more:
        raise ConfigError(
            "eval: --by goes with a run or a table, --evidence with a run; this is neither. Leave it out."
        )
    judge = evaluate_shards if is_sharded else evaluate_file
    return judge(source, folder, positive=positive)


def _judge_run(run: Path, by: Sequence[str], base: str | None, *, is_removing: bool) -> None:
    """A run's table; one a question where it asks several."""
    from clsgen.inference.panel import question_folders

    for name, folder in (question_folders(run) or {"": run}).items():
        if name:
            console.print(f"\n{name}", style="bold")
        found, files = _of_run(folder, by, base, is_removing=is_removing)
        _show(found, files, with_parts=bool(by))


def _show(result: Mapping[str, Any], written: Sequence[Path], *, with_parts: bool) -> None:
    console.print(metrics_table(result))
    if with_parts:
        console.print(subgroup_table(result))
    for path in written:
        console.print(f"Written: {path}", soft_wrap=True)


def _given(**options: object) -> list[str]:
    """Options of a table that were given, as they are typed."""
    return [f"--{name}" for name, value in options.items() if value is not None]


def _of_run(run: Path, by: Sequence[str], base: str | None, *, is_removing: bool) -> tuple[dict[str, Any], list[Path]]:
    """What a run is worth, and the files written."""
    from clsgen.pipeline.evaluate import evaluate_run, remove_evidence

    quiet_libraries()
    with row_progress("predicting") as on_progress:
        result = evaluate_run(run, by=by, base=base, on_progress=on_progress)
    written = [run / "predictions.jsonl", run / "metrics.json"]
    if is_removing:
        result["explanations"] |= remove_evidence(run, base=base)["figures"]
        written += [run / "evidence.jsonl", run / "evidence.json"]
    return result, written


def _check_table(prob: Sequence[str], label: str, by: Sequence[str], *, refused: Mapping[str, bool]) -> None:
    """Refuse options that a table has no use for, and columns that give the label away."""
    given = [name for name, is_given in refused.items() if is_given]
    if given:
        raise ConfigError(f"eval: {', '.join(given)} goes with a run directory; this is a table. Leave it out.")
    given_columns = list(_columns(prob).values())
    if label in given_columns:
        raise ConfigError(f"eval: --prob and --label must be different columns; got {label!r} for both.")
    telling = {label, *given_columns}
    for name in by:
        if name in telling:
            raise ConfigError(f"eval: --by must be other columns than label and probability; got {name!r}.")


def _columns(prob: Sequence[str]) -> dict[str, str]:
    """Label -> column; a single column without a label is the positive one's ("=a=b" is the column "a=b")."""
    if len(prob) == 1 and "=" not in prob[0]:
        return {"": prob[0]}
    pairs = [each.partition("=") for each in prob]
    if any(not equals for _, equals, _ in pairs) or len({label for label, _, _ in pairs}) < len(pairs):
        raise ConfigError(
            f"eval: --prob must be one column, or LABEL=COLUMN once for every label; got {list(prob)}. "
            "A single column whose name holds an equals sign is written =COLUMN."
        )
    return {label: column for label, _, column in pairs}


def _settings(bootstrap: int | None, figures: str | None) -> EvaluateSettings:
    wanted = None if figures is None else tuple(name.strip() for name in figures.split(","))
    try:
        return (
            EvaluateSettings(figures=wanted)
            if bootstrap is None
            else EvaluateSettings(num_bootstrap=bootstrap, figures=wanted)
        )
    except ValueError as error:
        raise ConfigError(f"eval: --bootstrap must be 100 or more; got {bootstrap}. 1,000 is the default.") from error
