"""Where answers are kept: a row for every change in SQLite, on the disk before it is acknowledged."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from clsgen.errors import ArtifactError

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY,
    reviewer TEXT NOT NULL,
    item TEXT NOT NULL,
    answer TEXT NOT NULL,
    comment TEXT NOT NULL,
    seconds REAL NOT NULL,
    answered_at REAL NOT NULL
)
"""
_LATEST = """
SELECT reviewer, item, answer, comment, seconds, answered_at FROM answers
WHERE number IN (SELECT max(number) FROM answers GROUP BY reviewer, item) ORDER BY reviewer, answered_at
"""


class Given(NamedTuple):
    """What a reviewer last said of an item.

    Attributes:
        reviewer: Name.
        item: Id.
        answer: Question -> choice, of those answered so far.
        comment: Free text; "" for none.
        seconds: That the item was looked at.
        answered_at: Unix time.
    """

    reviewer: str
    item: str
    answer: Mapping[str, str]
    comment: str
    seconds: float
    answered_at: float


class AnswerStore:
    """Answers of a study; earlier ones stay, the last one counts.

    Args:
        file: The database; made where it is not there, readable by its owner alone.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def put(self, reviewer: str, item: str, answer: Mapping[str, str], comment: str, seconds: float) -> None:
        """Keep an answer; it is on the disk when this returns.

        Raises:
            ArtifactError: It can't be written.
        """
        values = (reviewer, item, json.dumps(dict(answer)), comment, seconds, time.time())
        with self._open() as database, database:
            database.execute(
                "INSERT INTO answers (reviewer, item, answer, comment, seconds, answered_at) VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )

    def latest(self) -> list[Given]:
        """What each reviewer last said of each item, by reviewer and time.

        Raises:
            ArtifactError: It can't be read.
        """
        with self._open() as database:
            rows = database.execute(_LATEST).fetchall()
        return [Given(row[0], row[1], json.loads(row[2]), *row[3:]) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(self._file, timeout=30)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                database.execute(_TABLE)
                yield database
        except (sqlite3.Error, OSError) as error:
            raise ArtifactError(
                f"{self._file} must be a database that can be written; {error}. Nothing that was acknowledged is lost."
            ) from error
