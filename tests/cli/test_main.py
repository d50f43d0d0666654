"""The entry point: fast, lazy, one line an error."""

from __future__ import annotations

import importlib
import resource
import subprocess
import sys

import pytest

import clsgen
from clsgen.cli import main as cli
from clsgen.errors import ConfigError

HEAVY = {"torch", "transformers", "peft", "sklearn", "matplotlib", "pydantic", "datasets", "numpy", "rich.markdown"}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; the exit status."""
    monkeypatch.setattr(sys, "argv", ["clsgen", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_help_lists_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert f"\n  {name} " in out
        assert command.help in out
    assert call(monkeypatch, "-h") == 0
    assert capsys.readouterr().out == out


def test_help_takes_less_than_half_a_second_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom clsgen.cli.main import main\nsys.argv = ['clsgen', '--help']\n"
        f"try: main()\nexcept SystemExit: print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr.strip() == "[]"
    # Processor time: the wall clock would measure the other tests that run beside this one.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"clsgen {clsgen.__version__}\n"


@pytest.mark.parametrize("module", ["clsgen", "clsgen.cli"])
def test_modules_run(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"clsgen {clsgen.__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert call(monkeypatch, name, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: clsgen {name} [OPTIONS]")
    assert "--help" in out


def test_help_loads_no_torch() -> None:
    """Which takes seconds; a command that needs it imports it when it runs."""
    modules = sorted({command.module for command in cli.COMMANDS.values()})
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n    "
    code += "if 'torch' in sys.modules: sys.exit(name)"
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistyped_command_is_answered_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "trian") == 2
    assert "No such command 'trian'. Did you mean 'train'?" in capsys.readouterr().err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make `clsgen env` raise what it is given."""

    def _failing(error: BaseException) -> None:
        def env() -> None:
            raise error

        monkeypatch.setattr(importlib.import_module("clsgen.cli.env"), "env", env)

    return _failing


def test_a_users_mistake_is_one_message_and_exit_2(monkeypatch, capsys, failing) -> None:
    failing(ConfigError("run.yaml: train.epochs must be above 0; got 0."))
    assert call(monkeypatch, "env") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "clsgen: error: run.yaml: train.epochs must be above 0; got 0.\n"


def test_a_bug_is_a_traceback(monkeypatch, failing) -> None:
    failing(ZeroDivisionError("bug"))
    monkeypatch.setattr(sys, "argv", ["clsgen", "env"])
    with pytest.raises(ZeroDivisionError, match="bug"):
        cli.main()


def test_an_interrupt_is_quiet_and_exit_130(monkeypatch, capsys, failing) -> None:
    failing(KeyboardInterrupt())
    assert call(monkeypatch, "env") == 130
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_while_a_command_is_imported(monkeypatch, capsys) -> None:
    def interrupted(_module: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", interrupted)
    assert call(monkeypatch, "env") == 130
    assert capsys.readouterr() == ("", "")


def test_a_group_keeps_its_subcommand_even_if_it_has_one(monkeypatch, capsys) -> None:
    import typer

    group = typer.Typer()

    @group.command()
    def check(path: str) -> None:
        """Look at [rows]."""
        typer.echo(f"checked {path}")

    monkeypatch.setattr(importlib.import_module("clsgen.cli.env"), "env", group)
    assert call(monkeypatch, "env", "check", "a.csv") == 0
    assert capsys.readouterr().out == "checked a.csv\n"
    assert call(monkeypatch, "env", "check", "--help") == 0
    assert "Look at [rows]." in capsys.readouterr().out  # no markup: brackets stand
