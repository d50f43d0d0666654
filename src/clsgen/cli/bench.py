"""`clsgen bench`: how fast a model is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from clsgen.artifacts import write_json_atomic
from clsgen.cli.console import console, quiet_libraries
from clsgen.cli.models import ModelName, Revision
from clsgen.errors import DataError
from clsgen.tasks.synthetic import generate_notes


def bench(
    model: ModelName,
    documents: Annotated[
        Path | None, typer.Option(help="A JSON list of texts, or a text a line; by default generated notes.")
    ] = None,
    num_documents: Annotated[int, typer.Option("--num", min=1, help="How many texts.")] = 32,
    runs: Annotated[int, typer.Option(min=1, help="Passes; medians are shown.")] = 3,
    engine: Annotated[Literal["auto", "plain"], typer.Option(help="plain: the readable reference.")] = "auto",
    base: Annotated[str | None, typer.Option(help="Where the base weights are, if they moved.")] = None,
    revision: Revision = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the figures here as JSON.")] = None,
) -> None:
    """Measure texts and tokens a second, memory, and what bounds them, on this machine."""
    from clsgen.inference.predictor import Classifier
    from clsgen.pipeline.bench import bench as measure

    quiet_libraries()
    classifier = Classifier.from_pretrained(model, revision=revision, base=base, engine=engine)
    result = measure(classifier, _texts(documents, num_documents), num_runs=runs)
    for line in _lines(result):
        console.print(line, soft_wrap=True)
    if output is not None:
        write_json_atomic(output, result)


def _texts(file: Path | None, num_documents: int) -> list[str]:
    if file is None:
        return [note.document for note in generate_notes(num_documents, length="short", prevalence=0.2, seed=0)]
    try:
        text = file.read_text(encoding="utf-8")
        found = (
            json.loads(text) if text.lstrip().startswith("[") else [each for each in text.splitlines() if each.strip()]
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"--documents must be a file in UTF-8, a JSON list of texts or a text a line; {error}."
        ) from None
    for number, each in enumerate(found):
        if not isinstance(each, str) or not each.strip():
            raise DataError(f"--documents must hold texts alone; entry {number} of {file} is {each!r}.")
    if not found:
        raise DataError(f"--documents must hold texts, a JSON list or one a line; {file} holds none.")
    return found[:num_documents]


def _lines(result: dict[str, Any]) -> list[str]:
    read = result["classify"]
    lines = [
        f"{result['num_texts']} texts of {result['num_prompt_tokens'] / result['num_texts']:.0f} tokens, "
        f"{result['engine']} engine, {result['device']}",
        f"probability:             {read['texts_per_second']:8.1f} texts/s {read['tokens_per_second']:10,.0f} tokens/s",
    ]
    if result["explain"] is not None:
        written, alone = result["explain"], result["write_alone"]
        lines += [
            f"probability and reason:  {written['texts_per_second']:8.1f} texts/s "
            f"{written['tokens_per_second']:10,.0f} written tokens/s",
            f"one reason by itself:    {'':8}         {alone['tokens_per_second']:10,.0f} written tokens/s",
        ]
    lines.append(f"peak memory:             {result['peak_bytes'] / 2**30:8.2f} GiB")
    return lines + [f"{name} takes {share}" for name, share in result["bounds"].items()]
