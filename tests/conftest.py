"""Fixtures that more than one test folder uses."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development data; a test that needs it skips where it is absent."""
    root = os.environ.get("CLSGEN_SHARED")
    folder = Path(root) if root else Path(__file__).parents[1].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the development data: set CLSGEN_SHARED to the folder that holds data/")
    return folder / "data"


class Ran(NamedTuple):
    """What a command line gave: exit status, standard output and standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs `clsgen ...` through its entry point in this process: a process of its own would load torch again."""
    from clsgen.cli.main import main

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["clsgen", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as left:
            code = 0 if left.code is None else int(left.code)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection, and any look-up of a name, fails the test."""

    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError(f"the network was asked for: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; not for the whole session, since its event loop would stand in the way of every other one."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("needs chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()
