"""A real server process for tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

# What the insistent model was asked, and what it learned to say.
TEXT = "Notes of a day. Then we saw wet\nstreets on that day 🌧, and more."
REASON = 'It says "we saw wet streets on that day", which rain brings.'


@dataclass
class Server:
    """A running server. log: its standard error; said: its standard output; both whole once it has stopped."""

    process: subprocess.Popen[str]
    url: str
    log_file: Path
    said: str = ""

    @classmethod
    def start(
        cls, served: Path, folder: Path, *options: str, command: tuple[str, ...] = ("serve",), **environment: str
    ) -> Server:
        """Serve a model, or with another command something else; the log goes into the folder."""
        log_file = folder / "server.log"
        with log_file.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "clsgen", *command, str(served), "--port", "0", *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
            )
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"Listening on (http://\S+)", line):
                return cls(process, found[1], log_file)
        raise AssertionError(f"the server did not start: {said}{log_file.read_text()}")

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)  # type: ignore[arg-type]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """Exit code after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.said += self.process.stdout.read()
            self.process.stdout.close()
        return code

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")
