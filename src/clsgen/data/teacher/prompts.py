"""The prompts that a teacher is asked with: files that a user can edit, filled in from an example."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Literal, get_args

from clsgen.artifacts import make_folder, write_text_atomic
from clsgen.errors import ConfigError
from clsgen.types import Example, TaskSpec

Kind = Literal["blind", "hinted", "argue"]
"""blind: the label is not told. hinted: it is, as the right one. argue: some label is argued for."""

BUILT_IN = Path(__file__).parent / "prompts"
_NAMES = {"document", "question", "instruction", "labels", "label"}
_PARTS = re.compile(r"\s*\[system\]\n(?P<system>(?:.*?\n)?)\[user\]\n(?P<user>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt file: what the system says and what the user says, with $document and the like to be filled in."""

    system: str
    user: str

    def messages(self, example: Example, spec: TaskSpec, label: str | None) -> tuple[tuple[str, str], ...]:
        """(role, content) of an example; a system part that is empty is left out."""
        values = {
            "document": example.document,
            "question": example.question,
            "instruction": spec.instruction,
            "labels": ", ".join(spec.labels),
            "label": "" if label is None else label,
        }
        parts = (("system", self.system), ("user", self.user))
        return tuple((role, Template(text).substitute(values).strip()) for role, text in parts if text.strip())


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompt of each kind, and the hash of their files."""

    by_kind: Mapping[Kind, Prompt]
    hash: str


def load_prompts(folder: Path | None) -> Prompts:
    """Read the prompt files: blind.txt, hinted.txt, argue.txt.

    Args:
        folder: Where edited ones are; None: the built-in ones.

    Raises:
        ConfigError: A file is missing, has no [user] part, or names what can't be filled in.
    """
    place = BUILT_IN if folder is None else folder
    digest = hashlib.sha256()
    found: dict[Kind, Prompt] = {}
    for kind in get_args(Kind):
        path = place / f"{kind}.txt"
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"teacher.prompts: {path} must be readable text; {error}. `clsgen synth --write-prompts` makes it."
            ) from error
        found[kind] = _read(text, kind, str(path))
        digest.update(text.encode())
    return Prompts(found, digest.hexdigest())


def write_prompts(folder: Path) -> None:
    """Copy the built-in prompts into a folder, to be edited.

    Raises:
        ConfigError: One of the files is there already.
    """
    make_folder(folder)
    for source in sorted(BUILT_IN.glob("*.txt")):
        target = folder / source.name
        if target.exists():
            raise ConfigError(f"{target}: the prompt must be a new file; it exists. Choose another folder.")
        write_text_atomic(target, source.read_text(encoding="utf-8"))


def _read(text: str, kind: Kind, where: str) -> Prompt:
    match = _PARTS.fullmatch(text)
    if match is None:
        raise ConfigError(f"{where}: a prompt must have a line [system] and, after it, a line [user]. Add them.")
    prompt = Prompt(match["system"], match["user"])
    template = Template(f"{prompt.system}\n{prompt.user}")
    names = set(template.get_identifiers())
    if not template.is_valid() or names - _NAMES:
        raise ConfigError(
            f"{where}: what is filled in must be one of {', '.join(f'${name}' for name in sorted(_NAMES))}; "
            f"got {sorted(names - _NAMES) or 'a lone $'}. Write a dollar sign as $$."
        )
    if "document" not in names or ("label" in names) != (kind != "blind"):
        told = "and must not tell $label" if kind == "blind" else "and $label"
        raise ConfigError(f"{where}: a {kind} prompt must hold $document {told}; got {sorted(names)}. Correct it.")
    return prompt
