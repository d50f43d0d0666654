"""Where answers are kept: a row a request in SQLite, written when it arrives, so that a kill loses nothing.

Write-ahead logging lets a reader look on while answers come in, and keeps every commit of a killed process.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clsgen.artifacts import make_folder
from clsgen.data.teacher.asks import Ask
from clsgen.errors import ArtifactError
from clsgen.llm.chat import ChatReply
from clsgen.llm.limits import Tokens

_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    example_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    label TEXT,
    sample INTEGER NOT NULL,
    failure TEXT,
    content TEXT,
    reasoning TEXT,
    finish_reason TEXT,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    model TEXT,
    answered_at REAL NOT NULL
) WITHOUT ROWID
"""

_WASTED = "CREATE TABLE IF NOT EXISTS wasted (key TEXT NOT NULL, tokens INTEGER NOT NULL)"
"""What attempts that failed may have cost, at most; the budget counts it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of one request.

    Attributes:
        key: Of the request.
        kind: The prompt's.
        label: The label that the prompt told; None where none.
        sample: Number of the sample.
        failure: Why there is no answer; None where there is one.
        content: The answer; "" where there is none.
        finish_reason: "stop", "length" or the server's word; "" where there is no answer.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        model: The model as the server names it.
    """

    key: str
    kind: str
    label: str | None
    sample: int
    failure: str | None
    content: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str


class Store:
    """One file of answers; used from one thread."""

    def __init__(self, path: Path, *, is_private: bool = False) -> None:
        """Open the file, or make it.

        Args:
            path: The file; its folder is made.
            is_private: Readable by the owner alone (0600), for texts under an access agreement.

        Raises:
            ArtifactError: It is no store, one of a later version, or can't be written.
        """
        make_folder(path.parent)
        self.path = path
        try:
            if is_private:
                path.parent.chmod(0o700)  # SQLite's own files beside it hold texts too
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
                path.chmod(0o600)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            self._database.execute(_TABLE)
            self._database.execute(_WASTED)
            self._database.execute(f"PRAGMA user_version={_VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise ArtifactError(
                f"{path}: the store must be an SQLite file that can be written; {error}. Choose another teacher.folder."
            ) from error
        if version not in (0, _VERSION):
            raise ArtifactError(f"{path}: the store must be of version {_VERSION}; got {version}. Update clsgen.")

    def close(self) -> None:
        """Close the file; everything is written already."""
        self._database.close()

    def has(self, key: str) -> bool:
        """Whether the request was answered; one that failed was not."""
        found = self._database.execute("SELECT 1 FROM answers WHERE key = ? AND failure IS NULL", (key,))
        return found.fetchone() is not None

    def put(self, ask: Ask, reply: ChatReply) -> None:
        """Keep an answer; it is on disk when this returns, as far as a kill of the process goes."""
        self._write(
            ask,
            failure=None,
            content=reply.content,
            reasoning=reply.reasoning,
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            model=reply.model,
        )
        self._waste(ask, reply.tokens_wasted)

    def put_failure(self, ask: Ask, reason: str, *, tokens_charged: int = 0) -> None:
        """Keep that a request finally failed, and why; it is asked again by the next run.

        An answer that another run has kept meanwhile stays.
        """
        self._waste(ask, tokens_charged)
        if not self.has(ask.key):
            self._write(ask, failure=reason)

    def of(self, keys: Iterable[str]) -> list[Stored]:
        """What came of the requests, in the order of the keys; those never sent are left out."""
        columns = "key, kind, label, sample, failure, content, finish_reason, prompt_tokens, completion_tokens, model"
        found = []
        for key in keys:
            row = self._database.execute(f"SELECT {columns} FROM answers WHERE key = ?", (key,)).fetchone()
            if row is not None:
                texts = {name: row[name] or "" for name in ("content", "finish_reason", "model")}
                found.append(Stored(**{**dict(row), **texts}))
        return found

    def sample(self) -> str | None:
        """The content of one answer, for people who ask what a teacher says; None where nothing was answered."""
        row = self._database.execute("SELECT content FROM answers WHERE content <> '' LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def spent(self) -> Tokens:
        """Tokens of every answer in the file, and what failed attempts may have cost, as if it had been read."""
        row = self._database.execute("SELECT SUM(prompt_tokens), SUM(completion_tokens) FROM answers").fetchone()
        return Tokens((row[0] or 0) + self.wasted(), row[1] or 0)

    def wasted(self) -> int:
        """Tokens that failed attempts may have cost, at most."""
        (found,) = self._database.execute("SELECT SUM(tokens) FROM wasted").fetchone()
        return int(found or 0)

    def _waste(self, ask: Ask, tokens: int) -> None:
        if tokens:
            self._execute("INSERT INTO wasted (key, tokens) VALUES (?, ?)", (ask.key, tokens))

    def _write(self, ask: Ask, **values: object) -> None:
        record = {
            "key": ask.key,
            "example_id": ask.example_id,
            "kind": ask.kind,
            "label": ask.label,
            "sample": ask.sample,
            "answered_at": time.time(),
            **values,
        }
        names = ", ".join(record)
        marks = ", ".join("?" * len(record))
        self._execute(f"INSERT OR REPLACE INTO answers ({names}) VALUES ({marks})", tuple(record.values()))

    def _execute(self, command: str, values: tuple[object, ...]) -> None:
        try:
            self._database.execute(command, values)
        except sqlite3.Error as error:
            raise ArtifactError(
                f"{self.path}: the answer must be kept; {error}. Earlier ones are: free some space and run again."
            ) from error


@contextmanager
def open_store(path: Path, *, is_private: bool) -> Iterator[Store]:
    """A store that is closed at the end of the block."""
    store = Store(path, is_private=is_private)
    try:
        yield store
    finally:
        store.close()
