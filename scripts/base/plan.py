"""scripts/base.yaml: the stages, what a trial changes in them, and what a stage starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

SCRIPTS = Path(__file__).parents[1]
KINDS = ("pretrain", "instruct")


class PlanError(ValueError):
    """What was asked for can't be built; the message says what to do."""


def load_plan() -> dict[str, Any]:
    """The whole file."""
    return dict(yaml.safe_load((SCRIPTS / "base.yaml").read_text(encoding="utf-8")))


def stage_of(plan: dict[str, Any], name: str, kind: str | None = None) -> dict[str, Any]:
    """Settings of a stage.

    Args:
        plan: The file.
        name: Of the stage.
        kind: One of KINDS, where only such a stage will do.

    Raises:
        PlanError: There is no such stage, or it is of the other kind.
    """
    if name not in plan["stages"]:
        raise PlanError(f"stage must be one of {', '.join(plan['stages'])}; got {name!r}.")
    found: dict[str, Any] = plan["stages"][name]
    if kind is not None and kind != kind_of(found):
        raise PlanError(f"{name} is of another kind. Run: python scripts/build_base.py {kind_of(found)} {name}")
    return found


def kind_of(stage: dict[str, Any]) -> str:
    """Which command trains the stage."""
    return "instruct" if "items" in stage else "pretrain"


def change(plan: dict[str, Any], stage: dict[str, Any], changes: list[str]) -> None:
    """Change settings of a stage, or of the model that it begins with, in place.

    Args:
        plan: The file.
        stage: The stage's part of it.
        changes: `schedule.num_tokens=800000`, `model.width=256`, `seed=5`.

    Raises:
        PlanError: There is no such setting, the value is of another kind, or the stage goes on with an earlier model.
    """
    for text in changes:
        path, _, value = text.partition("=")
        *parts, field = path.split(".")
        if parts[:1] == ["model"] and stage["init"] is not None:
            raise PlanError(f"--set {text}: this stage goes on with the model of {stage['init']}; change it there.")
        target: Any = plan if parts[:1] == ["model"] else stage
        for part in parts:
            target = target.get(part) if isinstance(target, dict) else None
        if not isinstance(target, dict) or field not in target:
            raise PlanError(f"--set {text}: scripts/base.yaml has no {path} for this stage.")
        new, old = yaml.safe_load(value), target[field]
        if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
            new = float(new)
        if type(new) is not type(old):
            raise PlanError(f"--set {text}: {path} must be like {old!r}; got {new!r}.")
        target[field] = new


def start_of(stage: dict[str, Any], plan: dict[str, Any], work: Path) -> Path:
    """The folder that a stage starts from: an earlier stage's, or the tokenizer's.

    Raises:
        PlanError: It is not built yet, or the earlier stage did not come to its end.
    """
    name = stage["init"]
    folder = work / (name or "tokenizer")
    if not (folder / "tokenizer.json").exists():
        command = "tokenizer" if name is None else f"{kind_of(plan['stages'][name])} {name}"
        raise PlanError(f"{folder} is not built. Run first: python scripts/build_base.py {command}")
    if name is not None:
        tokens_read(folder / "log.jsonl")
    return folder


def chain_of(plan: dict[str, Any], name: str) -> list[str]:
    """The stages that lead to one, and itself."""
    chain = [name]
    while (before := stage_of(plan, chain[0])["init"]) is not None:
        chain.insert(0, before)
    return chain


def tokens_read(log: Path) -> int:
    """Tokens of a stage's last run, from its log, which holds earlier runs too.

    Raises:
        PlanError: There is no log, or its last run did not come to an end.
    """
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    if not lines or not lines[-1].get("is_last"):
        raise PlanError(f"{log} holds no finished run. Train the stage to its end first.")
    return int(lines[-1]["tokens"])
