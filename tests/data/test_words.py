"""Words, runs of words and frequent codes."""

from __future__ import annotations

import numpy as np

from clsgen.data.words import frequent, shingles, word_ids


def test_words_are_runs_of_letters_in_one_case() -> None:
    found = word_ids(["Élan vital: p=0.05", "", "VITAL élan"])
    assert found.vocabulary == ["élan", "vital", "p", "0", "05"]
    assert [each.tolist() for each in found.documents] == [[0, 1, 2, 3, 4], [], [1, 0]]


def test_shingles_are_distinct_ordered_runs() -> None:
    def runs(*words: int, size: int = 2) -> set[int]:
        return set(shingles(np.array(words, dtype=np.int64), size).tolist())

    assert len(runs(1, 2, 1, 2, 1)) == 2
    assert runs(1, 2).isdisjoint(runs(2, 1))
    assert runs(1, 2) < runs(1, 2, 3)
    assert len(runs(1, 2, 3, size=5)) == 1
    assert runs(0, 0, size=5) != runs(0, size=5)
    assert runs() == set()


def test_shingles_of_many_runs_do_not_collide() -> None:
    words = np.random.default_rng(0).integers(0, 1000, size=100_000)
    runs = {tuple(words[start : start + 5].tolist()) for start in range(words.size - 4)}
    assert shingles(words, 5).size == len(runs)


def test_no_code_is_frequent_enough() -> None:
    found = frequent(np.array([3, 4], dtype=np.int64), 2)
    assert found.codes.size == 0
    assert found.column.tolist() == [-1, -1]
