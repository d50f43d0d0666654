"""The YAML 1.2 core schema: what it reads as what, and that the dumper is its inverse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsgen.config import yaml12
from clsgen.errors import ConfigError

# Words that YAML 1.1, CSV readers or number parsers would turn into something else.
LABELS = ["yes", "no", "on", "off", "y", "n", "Yes", "NA", "N/A", "nan", "None", "NONE", "01", "-007", "00.5", "é"]


@pytest.mark.parametrize("label", [*LABELS, "NULL", "null", "true", "1e-4", "12", "~", "", " a ", "a: b", "a #b"])
def test_labels_survive_dump_and_load(label: str) -> None:
    assert yaml12.load(yaml12.dump({"labels": [label, "other"], label or "k": label})) == {
        "labels": [label, "other"],
        label or "k": label,
    }


@pytest.mark.parametrize("label", LABELS)
def test_labels_survive_unquoted(label: str) -> None:
    assert yaml12.load(f"labels: [{label}]") == {"labels": [label]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # The examples of YAML 1.2.2, section 10.3.2 (core schema), the leading-zero deviation apart.
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("false", False),
        ("FALSE", False),
        ("0", 0),
        ("-19", -19),
        ("+12", 12),
        ("0o7", 7),
        ("0x3A", 58),
        ("0.", 0.0),
        ("-0.0", -0.0),
        (".5", 0.5),
        ("+12e03", 12000.0),
        ("-2E+05", -200000.0),
        ("1e-4", 1e-4),
        ("1e4", 1e4),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("+.INF", math.inf),
        # Not in the core schema: strings.
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1e", "1e"),
        ("e4", "e4"),
        (".", "."),
        ("tRUE", "tRUE"),
        ("'true'", "true"),
        ('"1e-4"', "1e-4"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("!!float 3", 3.0),
    ],
)
def test_core_schema(text: str, value: object) -> None:
    read = yaml12.load(text)
    assert read == value
    assert type(read) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(yaml12.load(".NaN"))
    assert math.isnan(yaml12.load(yaml12.dump({"a": math.nan}))["a"])


def test_merge_keys_are_ordinary_keys_and_aliases_work() -> None:
    assert yaml12.load("a: &x {b: 1}\nc: {<<: *x}") == {"a": {"b": 1}, "c": {"<<": {"b": 1}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"run\.yaml, line 3: .*key 'a' stands twice, first on line 1"),
        ("s:\n  k: 1\n  'k': 2\n", r"run\.yaml, line 3: .*key 'k' stands twice, first on line 2"),
        ("a: [1, 2\nb: 3\n", r"run\.yaml, line 2: the text must be valid YAML 1\.2"),
        ("a: 1\n---\nb: 2\n", r"run\.yaml, line 2: .*another document"),
        ("a: !!binary aGk=\n", r"run\.yaml, line 1: .*is not in the core schema"),
        ("a: !!python/object:os.system x\n", r"run\.yaml, line 1: .*is not in the core schema"),
        ("a: !!int x\n", r"run\.yaml, line 1: .*'x' can't be read as int"),
        ("? [1, 2]\n: 3\n", r"run\.yaml, line 1: .*a key must be a single word"),
        ("a: &x [*x]\n", r"run\.yaml, line 1: .*recursive"),
        ("a: *x\n", r"run\.yaml, line 1: .*undefined alias"),
        ("a: 1" + "0" * 5000, r"run\.yaml, line 1: .*can't be read as int"),
        ("a: \x00", r"run\.yaml: the text must be valid YAML 1\.2; unacceptable character"),
        ("[" * 2000, r"run\.yaml: the text must be valid YAML 1\.2; maximum recursion depth"),
    ],
)
def test_errors_name_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        yaml12.load(text, "run.yaml")


def test_dump_refuses_what_yaml_has_no_word_for() -> None:
    with pytest.raises(ConfigError, match="must be made of plain types"):
        yaml12.dump({"a": object()})


def test_dump_quotes_what_any_yaml_reader_could_mistake() -> None:
    value = {"data": {"labels": ("no", "YES", "01", "NA", "1e-4"), "task": None}, "rate": 1e-5, "path": "runs/a b"}
    assert yaml12.dump(value) == (
        'data:\n  labels: ["no", "YES", "01", NA, "1e-4"]\n  task: null\nrate: 1.0e-05\npath: runs/a b\n'
    )


def test_dump_leaves_a_value_that_ends_in_dots_alone() -> None:
    assert yaml12.dump({"a": "b..."}) == "a: b...\n"
    assert yaml12.dump("b...") == "b...\n"


_words = st.text(max_size=12) | st.sampled_from([*LABELS, "NULL", "true", "1e-4", ".5", "0x1", "~", "-", "? a", "---"])
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _words
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4), max_leaves=10
)


@settings(max_examples=300, deadline=None, database=None)
@given(st.dictionaries(_words, _values, max_size=5))
def test_load_inverts_dump(mapping: dict[str, object]) -> None:
    read = yaml12.load(yaml12.dump(mapping))
    assert read == mapping
    assert repr(read) == repr(mapping)  # 1 against 1.0 and True, which == can't tell apart
