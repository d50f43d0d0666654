"""`clsgen verify`: whether a model's files are those that were saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clsgen.pipeline.verify import verify as verify_folder


def verify(
    folder: Annotated[Path, typer.Argument(help="Model directory, or the run directory that holds it.")],
) -> None:
    """Hash every file and name those that are missing, altered or extra; exits 1 when there are any."""
    found = verify_folder(folder)
    for name, difference in found.items():
        for word, files in difference._asdict().items():
            for file in files:
                print(f"{word}: {file if name == '.' else f'{name}/{file}'}")
    num_files = sum(len(files) for difference in found.values() for files in difference)
    if num_files:
        print(f"{folder}: {num_files} files differ from what was saved.")
        raise typer.Exit(1)
    print(f"{folder}: every file is as it was saved.")
