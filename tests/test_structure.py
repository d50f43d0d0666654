"""The house rules that a test can hold: public names, what a file may contain, how long things may be."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import clsgen

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "clsgen").rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 5

# More than five parameters: what a forward of the Trainer hands over by name, and stages whose settings are plain
# values. A new function does not go here: it takes a dataclass, or is two functions.
MANY_PARAMETERS = {
    "inference/batch.py:predict_file",
    "model/backbone.py:scratch_backbone",
    "model/dual.py:forward",
    "pipeline/predict.py:predict_source",
    "training/trainer.py:__init__",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "src" / "clsgen").as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree_of(path)) if isinstance(node, Function))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call as written, `torch.load`, with its node."""
    yield from ((ast.unparse(node.func), node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))


def test_there_are_sources() -> None:
    assert len(SOURCES) > 60


# ---- public names ----


def test_public_names_are_those_of_all() -> None:
    assert dir(clsgen) == sorted(clsgen.__all__)
    found = {name: getattr(clsgen, name) for name in clsgen.__all__}
    assert found.pop("__version__") == clsgen.__version__
    assert all(isinstance(value, type) for value in found.values())
    assert all(value.__name__ == name for name, value in found.items())


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'clsgen' has no attribute 'Trainer'"):
        _ = clsgen.Trainer


def test_star_import_gives_the_public_names_and_no_other() -> None:
    names: dict[str, object] = {}
    exec("from clsgen import *", names)
    del names["__builtins__"]
    assert sorted(names) == sorted(clsgen.__all__)


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, clsgen; print(sorted({'torch', 'transformers', 'peft', 'sklearn', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_can_be_imported(path: Path) -> None:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    if parts[-1] == "__main__":
        pytest.skip("runs when imported; test_main.py runs it")
    importlib.import_module(".".join(part for part in parts if part != "__init__"))


# ---- what a file may contain ----


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.name == "__init__.py" and path.parent.name != "clsgen"], ids=name_of
)
def test_the_init_of_a_subpackage_is_a_docstring(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def test_only_the_command_line_prints() -> None:
    printing = {name_of(path) for path in SOURCES for call, _ in calls(path) if call == "print"}
    assert printing
    assert {name for name in printing if not name.startswith("cli/")} == set()


def test_importing_does_no_work() -> None:
    """At module level stand imports, definitions, named values, loops over a table of ours; in `__main__`, `main()`."""
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    allowed = (ast.Import, ast.ImportFrom, *definitions, ast.Assign, ast.AnnAssign, ast.For)
    for path in SOURCES:
        classes = [node.name for node in tree_of(path).body if isinstance(node, ast.ClassDef)]
        for node in tree_of(path).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            assert all(isinstance(each, ast.Name | ast.Tuple) for each in targets), f"{name_of(path)}:{node.lineno}"
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            is_run = path.name == "__main__.py"
            is_own = ast.unparse(node).startswith(tuple(f"{name}.add_" for name in classes))  # filling a table of ours
            holds = isinstance(node, allowed) or is_docstring or is_typing or is_run or is_own
            assert holds, f"{name_of(path)}:{node.lineno}"


def test_nothing_is_unpickled() -> None:
    for path in SOURCES:
        modules = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
        }
        assert modules.isdisjoint({"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}), name_of(path)
        for call, node in calls(path):
            if call == "torch.load":
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("weights_only") == "True", f"{name_of(path)}:{node.lineno}"


# ---- how long things may be ----


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for function in functions(path):
        num_lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert num_lines <= MAX_FUNCTION_LINES, f"{function.name} has {num_lines} lines"


def test_functions_have_few_parameters() -> None:
    """Options of a command are its parameters, so that commands are exempt."""
    many = set()
    for path in SOURCES:
        if name_of(path).startswith("cli/"):
            continue
        for function in functions(path):
            given = function.args
            names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            if len([name for name in names if name not in ("self", "cls")]) > MAX_PARAMETERS:
                many.add(f"{name_of(path)}:{function.name}")
    assert many == MANY_PARAMETERS


# ---- nobody's machine ----


def tracked() -> list[Path]:
    """Files that git tracks."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("needs a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_path_of_a_machine() -> None:
    homes = re.compile(r"(?<![\w.$}/-])/(?:home|root|Users|work|mnt|private)/\w")
    own = {str(ROOT), str(Path.home())} - {"/"}
    files = tracked()
    assert len(files) > 100
    for path in files:
        text = path.read_text(encoding="utf-8", errors="ignore")
        if path != Path(__file__):
            assert homes.search(text) is None, f"{path.relative_to(ROOT)}: {homes.search(text)}"
        assert not any(f"{folder}/" in text for folder in own), path.relative_to(ROOT)


def test_test_files_have_names_of_their_own_or_folders() -> None:
    """Modules beside the tests (tiny, lab) are imported by name, so that no test may have such a name."""
    helpers = {path.stem for path in (ROOT / "tests").glob("*.py") if not path.stem.startswith("test_")} - {"conftest"}
    assert helpers
    assert all(importlib.import_module(name).__file__ == str(ROOT / "tests" / f"{name}.py") for name in helpers)
