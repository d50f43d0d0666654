"""`clsgen data check`: the leakage audit as tables; exits 1 on leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clsgen.cli.console import print_dropped
from clsgen.config.data import ColumnSettings, DataSettings
from clsgen.config.load import load_config
from clsgen.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from clsgen.data.leakage import LeakageReport
    from clsgen.data.telling_words import TellingWord

_NUM_WORDS_SHOWN = 20

app = typer.Typer()


@app.callback()
def data() -> None:
    """Look at the rows before anything is trained on them."""


@app.command()
def check(
    config: Annotated[Path | None, typer.Argument(help="A run's YAML file; or name files with --train.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings such as data.split.num_folds=5.")] = None,
    train: Annotated[str | None, typer.Option(help="Own data instead of a YAML file.")] = None,
    test: Annotated[str | None, typer.Option(help="Held-out file; by default carved from --train.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Column of the document; repeat to join several.")] = None,
    question: Annotated[str | None, typer.Option(help="Column of what is asked of the document.")] = None,
    label: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    group: Annotated[list[str] | None, typer.Option(help="Column that ties rows together; repeat for more.")] = None,
    restricted: Annotated[bool, typer.Option("--restricted", help="With --train: print no text.")] = False,
    accept: Annotated[list[str] | None, typer.Option(help="A word that may tell the label; repeat for more.")] = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Print words of restricted data too.")] = False,
) -> None:
    """Audit groups, duplicates, balance, lengths and telling words; exit 1 on leaks."""
    # The audit needs numpy and scipy, which `clsgen --help` must not wait for.
    from rich.console import Console

    from clsgen.data.leakage import audit
    from clsgen.pipeline.rows import load_split

    if (config is None) == (train is None):
        raise ConfigError(
            "data check: rows must come from a YAML file or --train, one of the two; got both or neither."
        )
    if config is not None:
        settings = load_config(config, overrides or ()).data
    else:
        columns = ColumnSettings(text=tuple(text or ["text"]), question=question, label=label, group=tuple(group or ()))
        settings = DataSettings(train=train, test=test, columns=columns, restricted=restricted)
    spec, split, dropped = load_split(settings.model_copy(update={"allow_leaks": True}))
    accepted = {word.casefold() for word in accept or ()}
    report = audit(split)
    words = [word._replace(is_leak=word.is_leak and word.text not in accepted) for word in report.telling_words]
    report = replace(report, telling_words=tuple(words))

    console = Console(markup=False, highlight=False)
    console.print(f"Task {spec.name}: {len(spec.labels)} classes")
    console.print(_roles_table(report))
    console.print(_labels_table(report, spec.labels))
    print_dropped(dropped)
    _print_overlaps(console, report)
    is_text_shown = show_text or not spec.is_restricted
    if report.telling_words:
        console.print(_words_table(report.telling_words, is_text_shown=is_text_shown))
    for leak in report.leaks:
        console.print(f"LEAK: {leak}")
    if report.has_leaks:
        raise typer.Exit(1)
    console.print("No leaks found.")


def _table(title: str, columns: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right", overflow="fold")
    return table


def _roles_table(report: LeakageReport) -> Table:
    columns = ["role", "rows", "groups", "explained", "readable", "median", "95%", "longest"]
    table = _table("Rows by role, and words of their documents", columns)
    for role in report.summaries:
        lengths = [f"{role.median_words:,.0f}", f"{role.p95_words:,.0f}", f"{role.max_words:,}"]
        readable = f"{role.num_readable / role.num_explanations:.1%}" if role.num_explanations else ""
        counts = [role.num_rows, role.num_groups, role.num_explanations]
        table.add_row(role.role, *map(str, counts), readable, *lengths)
    return table


def _labels_table(report: LeakageReport, labels: Sequence[str]) -> Table:
    table = _table("Labels by role", ["label", *(role.role for role in report.summaries)])
    for label in labels:
        counts = [(role.label_counts.get(label, 0), sum(role.label_counts.values())) for role in report.summaries]
        table.add_row(label, *(f"{count} ({count / max(total, 1):.1%})" for count, total in counts))
    return table


def _print_overlaps(console: Console, report: LeakageReport) -> None:
    documents = {(each.first, each.second): each for each in report.shared_documents}
    groups = {(each.first, each.second): each for each in report.shared_groups}
    if not documents and not groups:
        console.print("Shared between roles: no group, no document, no near-duplicate document.")
        return
    table = _table(
        "Shared between roles",
        ["roles", "groups", "rows of the second", "share", "equal texts", "near-equal texts"],
    )
    sizes = {role.role: role.num_rows for role in report.summaries}
    for pair in sorted({*documents, *groups}):
        shared, copied = groups.get(pair), documents.get(pair)
        num_rows = 0 if shared is None else shared.num_second_rows
        table.add_row(
            f"{pair[0]} / {pair[1]}",
            str(0 if shared is None else shared.num_groups),
            str(num_rows),
            f"{num_rows / sizes[pair[1]]:.1%}",
            str(0 if copied is None else copied.num_exact),
            str(0 if copied is None else copied.num_near),
        )
    console.print(table)


def _words_table(words: Sequence[TellingWord], *, is_text_shown: bool) -> Table:
    table = _table(
        "Words that almost determine the label",
        ["word", "label", "texts", "with label", "at least", "base share", "of label's", ""],
    )
    for word in words[:_NUM_WORDS_SHOWN]:
        table.add_row(
            word.text if is_text_shown else "(hidden)",
            word.label,
            str(word.num_documents),
            f"{word.share:.1%}",
            f"{word.lower_bound:.1%}",
            f"{word.base_share:.1%}",
            f"{word.coverage:.1%}",
            "LEAK" if word.is_leak else "warning",
        )
    if len(words) > _NUM_WORDS_SHOWN:
        table.caption = f"{len(words) - _NUM_WORDS_SHOWN} more are not shown."
    return table
