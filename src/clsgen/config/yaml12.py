"""YAML 1.2 (core schema) on PyYAML's parser, whose own reading is YAML 1.1.

Only true/false are booleans and only null/~/nothing is null, so labels such as yes, no, on, off, NA and None stay
strings; `1e-4`, `1e4` and `.5` are floats. One deviation from the core schema: a number with a leading zero (`01`,
`-007`, `00.5`) stays a string, because labels, codes and ids must survive and nobody writes a setting so. Dates,
merge keys (`<<`) and tags such as `!!binary` are not in the core schema; a tag that is not known is an error.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar, NamedTuple, NoReturn

import yaml

from clsgen.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_YAML11 = yaml.resolver.Resolver()
_FLOAT = r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"


class _Kind(NamedTuple):
    """How a plain scalar of one core tag looks; `openings` are the characters it can begin with ("": it is empty)."""

    pattern: str
    openings: list[str]


_PATTERNS = {
    "null": _Kind(r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    "bool": _Kind(r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": _Kind(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    "float": _Kind(rf"{_FLOAT}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+.0123456789"]),
}
_BARE = re.compile(r"[A-Za-z0-9_./~+-]([A-Za-z0-9_./~+() -]*[A-Za-z0-9_./~+()-])?")


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner and parser with the core schema's tags and nothing else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (its stub calls it an instance's)
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the strings that the loader would read as something else, and never writes an alias."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (its stub calls it an instance's)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def load(text: str, source: str = "YAML") -> Any:
    """What a YAML 1.2 document holds: mappings, lists, strings, numbers, booleans, None.

    Args:
        text: One document; an empty one is None.
        source: The name that errors give the document, a file's path as a rule.

    Raises:
        ConfigError: The text is not YAML, holds a key twice, or an unknown tag; the message names the line.
    """
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = source if mark is None else f"{source}, line {mark.line + 1}"
        detail = error.problem or error.context
        raise ConfigError(f"{where}: the text must be valid YAML 1.2; {detail}. Correct that line.") from error
    except (yaml.YAMLError, RecursionError) as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"{source}: the text must be valid YAML 1.2; {detail}. Correct the file.") from error
    finally:
        if loader is not None:
            loader.dispose()


def dump(value: Any) -> str:
    """YAML that `load` reads back as the same value.

    Args:
        value: Mappings with string keys, lists or tuples (read back as lists), strings, numbers, booleans, None.

    Returns:
        Text that ends with a line feed; mappings in blocks, lists on one line.

    Raises:
        ConfigError: The value holds something that YAML's core schema has no word for.
    """
    try:
        text: str = yaml.dump(
            value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=math.inf
        )
    except yaml.YAMLError as error:
        raise ConfigError(f"YAML: the value must be made of plain types; {error}. Convert it first.") from error
    return text.removesuffix("\n...\n") + "\n" if text.endswith("\n...\n") else text  # the end mark of a bare scalar


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    first_line: dict[Any, int] = {}
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, (dict, list)):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a single word", key_node.start_mark)
        if key in mapping:
            message = f"key {key!r} stands twice, first on line {first_line[key]}"
            raise yaml.constructor.ConstructorError(None, None, message, key_node.start_mark)
        first_line[key] = key_node.start_mark.line + 1
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _sequence(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return list(loader.construct_sequence(node, deep=True))


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _unknown_tag(loader: _Loader, node: yaml.Node) -> NoReturn:
    message = f"the tag {node.tag!r} is not in the core schema"
    raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """A value of a core tag, whether the tag was found by its pattern or written (`!!int 12`)."""
    text = _text(loader, node)
    kind = node.tag.removeprefix(_TAG)
    try:
        if re.fullmatch(_PATTERNS[kind].pattern, text) is None:
            raise ValueError
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        message = f"{text[:40]!r} can't be read as {kind}"
        raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from error


def _represent_string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Bare only where every reader sees a string: YAML 1.1, which other tools read, takes yes and 01 for more."""
    yaml11_tag = _YAML11.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    is_core_kind = any(re.fullmatch(kind.pattern, text) for kind in _PATTERNS.values())
    is_bare = bool(_BARE.fullmatch(text)) and yaml11_tag == f"{_TAG}str" and not is_core_kind
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if is_bare else '"')


def _represent_list(dumper: _Dumper, values: list[Any] | tuple[Any, ...]) -> yaml.SequenceNode:
    return dumper.represent_sequence(f"{_TAG}seq", values, flow_style=True)


for _name, _kind in _PATTERNS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_kind.pattern})\Z"), _kind.openings)
    _Loader.add_constructor(f"{_TAG}{_name}", _scalar)
_Loader.add_constructor(f"{_TAG}str", _text)
_Loader.add_constructor(f"{_TAG}seq", _sequence)
_Loader.add_constructor(f"{_TAG}map", _unique_mapping)
_Loader.add_constructor(None, _unknown_tag)
_Dumper.add_representer(str, _represent_string)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
