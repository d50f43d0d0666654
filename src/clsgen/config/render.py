"""What is generated from the settings' fields: the commented configuration and the reference page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from clsgen.config import yaml12
from clsgen.config.fields import Setting, settings
from clsgen.config.run import RunConfig
from clsgen.types import EMBEDDED

_WIDTH = 110
_LENGTHS_TOKENS = {"esnli": 256, "lcd": 4096, "synthetic-notes": 512}  # of tasks whose rows are not about 1,024
_WITHOUT_EXPLANATIONS = ("clinifact", "lcd")  # tasks whose files hold none: the extractive teacher quotes
_HEADER = """\
# Configuration of a clsgen run: every setting with its meaning, what it must be and its default.
# Run it with `clsgen train THIS_FILE`; one setting can be changed there: `clsgen train THIS_FILE train.epochs=1`.
# YAML 1.2: only true and false are booleans, so labels such as yes and no need no quotes.
# Relative paths are taken from the current directory.
"""
_INTRODUCTION = """\
# Configuration

A run is described by one YAML 1.2 file. `clsgen init` writes it with every setting and its meaning; a setting that
is left out has its default. `clsgen train run.yaml train.learning_rate=1e-4` changes one setting for one run.
Only `true` and `false` are booleans, so labels such as `yes`, `no`, `NA` and `01` stay text. Relative paths are taken
from the current directory. An unknown key is an error, and every problem of a file is listed at once.

This page is generated from the fields by `python scripts/build_docs.py`.
"""


def example_config(task: str | None = None) -> RunConfig:
    """A configuration that runs as it stands, on this machine and without the network: LoRA on the embedded base.

    Args:
        task: A built-in task; None is synthetic-notes, which needs no files.
    """
    name = "synthetic-notes" if task is None else task
    source = "extractive" if name in _WITHOUT_EXPLANATIONS else "column"
    return RunConfig.model_validate(
        {
            "output": f"runs/{name}",
            "data": {
                "task": name,
                "explanations": source,
                "allow_leaks": name == "clinifact",  # its published split leaks; the leak is counted and shown
            },
            "model": {
                "backbone": EMBEDDED,
                "lora": {"dropout": 0.0},  # a third faster on a CPU
                "max_length_tokens": _LENGTHS_TOKENS.get(name, 1024),
            },
            # a model this small bears, and needs, higher rates than the default
            "train": {"learning_rate": 1e-3, "monitor": "loss", "patience": None, "log_steps": 25},
        }
    )


def commented_yaml(config: RunConfig | None = None) -> str:
    """A complete configuration file with a comment above every setting; `load_config` reads it back as `config`.

    Args:
        config: The values to write; None is `example_config()`.
    """
    values = (example_config() if config is None else config).model_dump(mode="json")
    blocks = [_commented(setting, _value(values, setting.path)) for setting in settings().values()]
    return "\n".join([_HEADER, *blocks])


def markdown_reference() -> str:
    """The reference page: a table a section, a row a setting."""
    parts = [_INTRODUCTION]
    sections = {"": "Top level"} | {s.path: s.description for s in settings().values() if s.is_section}
    for path, description in sections.items():
        rows = [_row(setting) for setting in settings().values() if setting.parent == path and not setting.is_section]
        title = f"## {description}\n" if not path else f"## `{path}`\n\n{description}\n"
        parts.append(f"{title}\n| setting | must be | default | meaning |\n|---|---|---|---|\n" + "".join(rows))
    return "\n".join(parts)


def _commented(setting: Setting, value: Any) -> str:
    indent = "  " * setting.path.count(".")
    if setting.is_section:
        return f"{_comment(setting.description, indent)}{indent}{setting.name}:\n"
    rule = f"({setting.rule}; default: {_flow(setting.default)})"
    comment = _comment(setting.description, indent) + _comment(rule, indent)
    return f"{comment}{indent}{yaml12.dump({setting.name: value})}"


def _comment(text: str, indent: str) -> str:
    prefix = f"{indent}# "
    lines = textwrap.wrap(text, _WIDTH - len(prefix), break_long_words=False, break_on_hyphens=False)
    return "".join(f"{prefix}{line}\n" for line in lines)


def _row(setting: Setting) -> str:
    cells = [f"`{setting.path}`", setting.rule, f"`{_flow(setting.default)}`", setting.description]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def _flow(value: Any) -> str:
    """A value as it would be written after its key."""
    return yaml12.dump(value).strip()


def _value(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found[key]
    return found
