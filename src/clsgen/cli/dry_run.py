"""What `clsgen train --dry-run` shows."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from clsgen.cli.console import console, quiet_libraries
from clsgen.config.run import RunConfig
from clsgen.pipeline.dry_run import DryRun, RenderedRow, dry_run

MAX_PROMPT_CHARACTERS = 900


def run_dry(settings: RunConfig, *, show_text: bool) -> None:
    """Prepare the run and show what it would be; rows of a restricted task only where `show_text` says so."""
    quiet_libraries()
    found = dry_run(settings)
    if found.is_restricted and not show_text:
        console.print("Restricted task: rendered rows are left out (--show-text shows them).")
    _show(found, with_rows=show_text or not found.is_restricted)


def _show(found: DryRun, *, with_rows: bool) -> None:
    """Print parameters, memory, lengths and, where allowed, three rendered rows."""
    console.print(
        f"{found.num_parameters:,} parameters, {found.num_trained:,} trained "
        f"({found.num_trained / found.num_parameters:.2%})."
    )
    console.print("Rows: " + ", ".join(f"{count} {role}" for role, count in found.num_rows.items()) + ".")
    if found.sources:
        console.print("Explanations: " + ", ".join(f"{count} {name}" for name, count in found.sources.items()) + ".")
    if found.dropped:
        console.print("Left out: " + ", ".join(f"{count} {reason}" for reason, count in found.dropped.items()) + ".")
    memory = Table("memory (estimate)", "MiB")
    memory.columns[1].justify = "right"
    for part, size in found.memory_bytes.items():
        if size:
            memory.add_row(part, f"{size / 2**20:,.1f}")
    memory.add_section()
    memory.add_row("in all", f"{sum(found.memory_bytes.values()) / 2**20:,.1f}")
    console.print(memory)
    lengths = Table("tokens up to", "train rows", "")
    largest = max(found.histogram.values())
    for edge, count in found.histogram.items():
        lengths.add_row(f"{edge:,}", f"{count:,}", "█" * round(30 * count / largest))
    console.print(lengths)
    console.print(f"{found.share_cut:.1%} of the train documents are cut.")
    if with_rows:
        console.print("The class head reads »[reverse]here[/]«; after ▸ follows what is [green]supervised[/].")
        for row in found.rows:
            console.print(_rendered(row))


def _rendered(row: RenderedRow) -> Text:
    prompt = row.prompt
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        half = MAX_PROMPT_CHARACTERS // 2
        prompt = f"{prompt[:half]} [...] {prompt[-half:]}"
    text = Text(f"\n{row.id} (label {row.label}, mode {row.mode})\n", style="bold")
    text.append(prompt, style="not bold dim")
    text.append("»", style="not bold dim")
    text.append(row.decision_token.replace("\n", "⏎"), style="not bold reverse")
    text.append("« ▸ ", style="not bold dim")
    text.append(row.target, style="not bold green")
    return text
