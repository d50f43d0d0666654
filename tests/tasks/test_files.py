from __future__ import annotations

from pathlib import Path

import pytest

from clsgen.errors import DataError
from clsgen.tasks.files import cell, data_root, find_layout, known_label, read_json


def test_the_root_is_the_setting_then_the_environment_then_the_folder_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSGEN_SHARED", "elsewhere")
    assert data_root("mine") == Path("mine")
    assert data_root(None) == Path("elsewhere/data")
    monkeypatch.delenv("CLSGEN_SHARED")
    assert data_root(None) == Path("../shared/data")


def test_files_are_found_under_a_subfolder_or_in_the_root(tmp_path: Path) -> None:
    layouts = {"first": ("a", "b"), "second": ("c",)}
    (tmp_path / "c").touch()
    assert find_layout("t", str(tmp_path), layouts=layouts, subfolders=("t",)) == ("second", tmp_path)
    (tmp_path / "t").mkdir()
    for name in ("a", "b"):
        (tmp_path / "t" / name).touch()
    assert find_layout("t", str(tmp_path), layouts=layouts, subfolders=("t",)) == ("first", tmp_path / "t")


def test_missing_files_are_named_with_the_places_looked_in(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(DataError, match=r"without b") as caught:
        find_layout("t", str(tmp_path), layouts={"first": ("a", "b")}, subfolders=("t",))
    assert f"Looked in {tmp_path / 't'}, {tmp_path}" in str(caught.value)
    with pytest.raises(DataError, match=r"task t: data.root must hold x, y or z; got none of them"):
        find_layout("t", str(tmp_path), layouts={"one": ("x", "y"), "two": ("z",)}, subfolders=())


def test_a_cell_is_text_and_its_column_must_be_there() -> None:
    assert [cell({"a": value}, "a", "here") for value in (" x ", None, 1)] == ["x", "", "1"]
    with pytest.raises(DataError, match=r"here: column 'b' must be there; got \['a'\]"):
        cell({"a": "x"}, "b", "here")


def test_an_unknown_label_is_refused() -> None:
    assert known_label("no", ("yes", "no"), "here") == "no"
    with pytest.raises(DataError, match=r"here: label must be one of \['yes', 'no'\]; got 'No'"):
        known_label("No", ("yes", "no"), "here")


def test_a_broken_json_file_is_refused_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"text": "private words"')
    with pytest.raises(DataError, match=r"x.json: file must be JSON in UTF-8") as caught:
        read_json(path)
    assert "private" not in str(caught.value)
