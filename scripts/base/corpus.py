"""Text for the base model: read, cleared of everything that a calibrator or a test reads, tokenized once.

Nothing of CliniFact (any role) may be learned from, nothing of the other tasks' rows outside the train role, and none
of the documents that bits per byte are measured on. The corpora hold some of them; they are found by their word
13-grams, or by a held-out text that stands in them whole, and left out, with a count.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clsgen.config.data import DataSettings
from clsgen.pipeline.rows import load_split

NGRAM_WORDS = 13
SHORTEST_WORDS = 6
"""Shorter texts say too little to tell where they come from."""
MOST_SHARED = 2
"""A document that shares more n-grams than this with one held-out text is left out."""

TEST_TEXTS = {
    "evidence_inference": ("title", "abstract", "evidence_context"),
    "pubmedqa": ("context", "explanation"),
    "esnli": ("premise", "hypothesis"),
    "comve": ("sent0", "sent1"),
}

DEALT = ("esnli", "evidence_inference", "pubmedqa")
"""Tasks whose published train rows are dealt into train, validation and calibration."""


class Corpus(NamedTuple):
    """Documents by source, and what was left out: source -> held-out set -> documents."""

    documents: dict[str, list[str]]
    dropped: dict[str, dict[str, int]]


def read_lines(path: Path) -> list[str]:
    """Lines of a gzipped text file, without the empty ones."""
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [line.strip() for line in handle if line.strip()]


def read_rows(root: Path, task: str, split: str) -> list[dict[str, Any]]:
    """Rows of one split of a task, as published."""
    return [json.loads(line) for line in read_lines(root / task / f"{split}.jsonl.gz")]


def read_corpus(root: Path) -> Corpus:
    """Every document that may be trained on.

    Args:
        root: The data folder: corpus/ and one folder a task.
    """
    documents = {
        path.name.removesuffix(".txt.gz").removesuffix("_train"): read_lines(path)
        for path in sorted((root / "corpus").glob("*.txt.gz"))
        if path.name != "lm_validation.txt.gz"
    }
    documents["trial_tasks"] = list(dict.fromkeys(_task_texts(root)))
    held_out = HeldOut(root)
    dropped: dict[str, dict[str, int]] = {}
    for source, texts in documents.items():
        marks = [held_out.found_in(text) for text in texts]
        documents[source] = [text for text, mark in zip(texts, marks, strict=True) if mark is None]
        dropped[source] = dict(Counter(mark for mark in marks if mark is not None))
    return Corpus(documents, dropped)


def clinifact_articles(root: Path) -> set[str]:
    """PubMed ids of CliniFact, every role: their labelled rows in other tasks are not trained on either."""
    return {str(row["pmid"]) for split in ("train", "validation") for row in read_rows(root, "clinifact", split)}


def train_rows(root: Path, task: str) -> list[dict[str, Any]]:
    """Published train rows of a task that are in its train role, as `data.split` deals them by default."""
    keys = _apart(root, task)
    return [row for row in read_rows(root, task, "train") if keys.isdisjoint(_keys(task, row))]


def other_rows(root: Path, task: str) -> list[dict[str, Any]]:
    """Published train rows of a task that are dealt to validation and calibration."""
    keys = _apart(root, task)
    return [row for row in read_rows(root, task, "train") if not keys.isdisjoint(_keys(task, row))]


def _apart(root: Path, task: str) -> frozenset[str]:
    os.environ.setdefault("CLSGEN_SHARED", str(root.parent))
    roles = load_split(DataSettings(task=task)).split.roles
    rows = [row for role, found in roles.items() if role != "train" for row in found]
    return frozenset(key for row in rows for key in (row.id, *row.groups))


def _keys(task: str, row: dict[str, Any]) -> set[str]:
    articles = {f"pmcid:{row['pmcid']}", f"pmid:{row['pmid']}"} if task == "evidence_inference" else set()
    return {row["id"], *articles}


def _task_texts(root: Path) -> Iterator[str]:
    banned = clinifact_articles(root)
    for row in read_rows(root, "evidence_inference", "train"):
        if str(row["pmid"]) not in banned:
            if row["abstract"]:
                yield f"{row['title']}. {row['abstract']}"
            yield row["evidence_context"]
    for row in read_rows(root, "pubmedqa", "train"):
        yield f"{row['question']} {row['context']} {row['explanation']}"


class HeldOut:
    """What must not be trained on, as n-grams of words and as whole texts by their first words."""

    def __init__(self, root: Path) -> None:
        self._owners: dict[int, list[int]] = {}
        self._names: list[str] = []
        self._texts: dict[int, list[tuple[tuple[str, ...], int]]] = {}
        for split in ("train", "validation"):
            for row in read_rows(root, "clinifact", split):
                self._add("clinifact", (row["title"], row["abstract"]))
        for task, fields in TEST_TEXTS.items():
            for row in read_rows(root, task, "validation"):
                self._add(task, [str(row[field] or "") for field in fields])
        for task in DEALT:
            for row in other_rows(root, task):
                self._add(f"{task}, calibration", [str(row[field] or "") for field in TEST_TEXTS[task]])
        for text in read_lines(root / "corpus" / "lm_validation.txt.gz"):
            self._add("lm_validation", (text,))

    def _add(self, name: str, texts: Iterable[str]) -> None:
        owner = len(self._names)
        self._names.append(name)
        for text in texts:
            words = _words(text)
            for gram in set(_grams(words, NGRAM_WORDS)):
                self._owners.setdefault(gram, []).append(owner)
            if len(words) >= SHORTEST_WORDS:
                self._texts.setdefault(hash(tuple(words[:SHORTEST_WORDS])), []).append((tuple(words), owner))

    def found_in(self, text: str) -> str | None:
        """Name of the held-out set that `text` repeats; None where it repeats none."""
        words = _words(text)
        shared = Counter(owner for gram in set(_grams(words, NGRAM_WORDS)) for owner in self._owners.get(gram, ()))
        if shared and max(shared.values()) > MOST_SHARED:
            return self._names[shared.most_common(1)[0][0]]
        for start, gram in enumerate(_grams(words, SHORTEST_WORDS)):
            for held_out, owner in self._texts.get(gram, ()):
                if tuple(words[start : start + len(held_out)]) == held_out:
                    return self._names[owner]
        return None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(words: Sequence[str], size: int) -> list[int]:
    return [hash(tuple(words[start : start + size])) for start in range(len(words) - size + 1)]


class Tokens(NamedTuple):
    """Token ids of many documents in one array, (T,) uint16; document i is ids[bounds[i]:bounds[i + 1]]."""

    ids: np.ndarray
    bounds: np.ndarray


def encode(tokenizer: Any, texts: Sequence[str]) -> Tokens:
    """Tokenize documents, without any special token."""
    encoded = [item.ids for item in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    bounds = np.cumsum([0, *map(len, encoded)])
    return Tokens(np.concatenate([np.asarray(ids, dtype=np.uint16) for ids in encoded]), bounds)
