"""Every setting with its path, meaning and rule, read off the fields: what errors, files and docs are made from."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from clsgen.config.run import RunConfig
from clsgen.config.section import Section

_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
_PLURALS: dict[Any, str] = {str: "texts", int: "whole numbers", float: "numbers"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of the configuration.

    Attributes:
        path: Dotted from the root, `train.learning_rate`.
        description: What it means, with its unit.
        rule: What a value must be, in words that follow "must be".
        default: The default; for a section, its default section.
        is_section: Whether it holds settings of its own.
        accepts_text: Whether a text is a valid kind of value (then an unquoted 1 or true is the usual mistake).
    """

    path: str
    description: str
    rule: str
    default: Any
    is_section: bool
    accepts_text: bool

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def parent(self) -> str:
        """The path of the section it stands in; "" at the root."""
        return self.path.rpartition(".")[0]


@cache
def settings() -> dict[str, Setting]:
    """Path -> setting, sections before what they hold, in the order of the files."""
    return {setting.path: setting for setting in _walk(RunConfig, "")}


def leaves() -> list[Setting]:
    """The settings that carry a value."""
    return [setting for setting in settings().values() if not setting.is_section]


def _walk(section: type[Section], prefix: str) -> Iterator[Setting]:
    for name, field in section.model_fields.items():
        path, kind = f"{prefix}{name}", field.annotation
        is_section = isinstance(kind, type) and issubclass(kind, Section)
        yield Setting(
            path=path,
            description=field.description or "",
            rule="a mapping of settings" if is_section else _rule(field),
            default=field.default,
            is_section=is_section,
            accepts_text=_accepts_text(kind),
        )
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _walk(kind, f"{path}.")


def _rule(field: FieldInfo) -> str:
    """Kind, bounds and whether null is allowed: `a number above 0 and below 1, or null`."""
    kinds = _members(field.annotation)
    words = " or ".join(_kind_words(kind) for kind in kinds if kind is not type(None))
    bounds = " and ".join(_bound_words(bound) for bound in field.metadata)
    optional = ", or null" if type(None) in kinds else ""
    return f"{words} {bounds}".strip() + optional


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _kind_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) is dict:
        return "a mapping"
    if get_origin(kind) is tuple:
        return f"a list of {_PLURALS[get_args(kind)[0]]}"
    return _WORDS[kind]


def _bound_words(bound: Any) -> str:
    match bound:
        case annotated_types.Gt(gt):
            return f"above {gt}"
        case annotated_types.Ge(ge):
            return f"of at least {ge}"
        case annotated_types.Lt(lt):
            return f"below {lt}"
        case annotated_types.Le(le):
            return f"of at most {le}"
        case annotated_types.MultipleOf(step):
            return f"that is a multiple of {step}"
        case annotated_types.MinLen(count):
            return f"with at least {count}"
    raise AssertionError(f"a bound without words: {bound!r}")


def _accepts_text(annotation: Any) -> bool:
    kinds = {kind for member in _members(annotation) for kind in (member, *get_args(member))}
    return any(kind is str or isinstance(kind, str) for kind in kinds)
