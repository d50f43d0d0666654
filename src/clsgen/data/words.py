"""Documents as arrays of word numbers, and the n-grams over them: what duplicates and telling words are found by."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
# Odd, so that multiplication modulo 2^64 loses nothing (Knuth's multiplier for 64 bits).
_MULTIPLIER = np.uint64(6364136223846793005)


class WordIds(NamedTuple):
    """Documents as word numbers.

    Attributes:
        documents: Per document (words,) int64, indices into `vocabulary`.
        vocabulary: The distinct words, in one case, by first appearance.
    """

    documents: list[NDArray[np.int64]]
    vocabulary: list[str]


def word_ids(documents: Iterable[str]) -> WordIds:
    """The words of each document as numbers; a word is a run of letters, digits and underscores.

    >>> word_ids(["No change.", "NO, no pain"]).documents[1].tolist()
    [0, 0, 2]
    """
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    found = [
        np.array([number[word] for word in _WORD.findall(document.casefold())], dtype=np.int64)
        for document in documents
    ]
    return WordIds(found, list(number))


def shingles(words: NDArray[np.int64], size: int) -> NDArray[np.uint64]:
    """The distinct runs of `size` words of a document, as hashes, sorted.

    A document shorter than that is one run. Hashes have 64 bits: among ten million runs a collision has a chance of
    about 3 in a million.

    Args:
        words: (words,) word numbers.
        size: Words a run, 1 or more.

    >>> shingles(np.array([4, 5, 4, 5, 4]), 2).size
    2
    """
    if words.size == 0:
        return np.zeros(0, dtype=np.uint64)
    size = min(size, words.size)
    length = words.size - size + 1
    codes = np.full(length, size, dtype=np.uint64)
    for offset in range(size):
        codes = codes * _MULTIPLIER + words[offset : offset + length].astype(np.uint64) + np.uint64(1)
        codes ^= codes >> np.uint64(29)
    return np.unique(codes)


class Frequent(NamedTuple):
    """The codes that occur often: sorted and distinct, how often each occurs, and where.

    Attributes:
        codes: (T,) as they came.
        counts: (T,) int64.
        column: Per input code (N,) int64, its index in `codes`, or -1 where it is not frequent.
    """

    codes: NDArray[np.int64 | np.uint64]
    counts: NDArray[np.int64]
    column: NDArray[np.int64]


def frequent(codes: NDArray[np.int64 | np.uint64], least: int) -> Frequent:
    """The codes that occur `least` times or more; a tenth of the time of `np.unique` where most occur once.

    >>> frequent(np.array([7, 3, 7, 9, 7, 3]), 2)
    Frequent(codes=array([3, 7]), counts=array([2, 3]), column=array([ 1,  0,  1, -1,  1,  0]))
    """
    values, counts = np.unique(codes, return_counts=True)
    is_kept = counts >= least
    values, counts = values[is_kept], counts[is_kept]
    if values.size == 0:
        return Frequent(values, counts, np.full(codes.size, -1, dtype=np.int64))
    column = np.minimum(np.searchsorted(values, codes), values.size - 1)
    return Frequent(values, counts, np.where(values[column] == codes, column, -1))
