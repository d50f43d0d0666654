"""Near-duplicate documents, found exactly and without comparing all pairs.

Prefix filtering (Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007): take the shingles of all documents
in one order, rarest first. Two sets of Jaccard t or more share a shingle among the first s - ceil(t s) + 1 of
each, s being its size. Those prefixes are short and made of rare shingles, so few pairs are left to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from clsgen.data.words import frequent

_ROWS_AT_ONCE = 256
# 0.8 * 15 is a little above 12 in floating point.
_ROUNDING = 1e-9


class Match(NamedTuple):
    """A document and the one most like it among others: their indices and their Jaccard similarity."""

    document: int
    other: int
    jaccard: float


class ShingleIndex:
    """Documents as sets of shingles, ready for `matches`."""

    def __init__(self, documents: Sequence[NDArray[np.uint64]], *, threshold: float) -> None:
        """Sorts every document's shingles, rarest first.

        Args:
            documents: Per document its distinct shingles, (shingles,) uint64.
            threshold: Jaccard similarity from which two documents are near duplicates, above 0 and at most 1.
        """
        self._threshold = threshold
        self._sizes_N = np.array([codes.size for codes in documents], dtype=np.int64)
        row = np.repeat(np.arange(len(documents)), self._sizes_N)
        # A shingle of one document alone is rarest, comes first, and can't be shared: it is counted, not kept.
        shared = frequent(np.concatenate([*documents, np.zeros(0, dtype=np.uint64)]), 2)
        is_kept = shared.column >= 0
        row = row[is_kept]
        rank = np.argsort(np.argsort(shared.counts, kind="stable"), kind="stable")
        column = rank[shared.column[is_kept]]
        order = np.lexsort((column, row))
        column = column[order]
        num_kept_N = np.bincount(row, minlength=len(documents))
        num_alone_N = self._sizes_N - num_kept_N
        position = num_alone_N[row] + np.arange(row.size) - (np.cumsum(num_kept_N) - num_kept_N)[row]
        least_shared_N = np.ceil(threshold * self._sizes_N - _ROUNDING).astype(np.int64)
        is_prefix = position <= (self._sizes_N - least_shared_N)[row]
        shape = (len(documents), max(rank.size, 1))
        self._sets_NS = _indicator(row, column, shape)
        self._prefixes_NS = _indicator(row[is_prefix], column[is_prefix], shape)

    def matches(self, documents: Sequence[int], others: Sequence[int]) -> list[Match]:
        """For each document that has a near duplicate among the others, the nearest one (the first of equals).

        Args:
            documents: Indices that are looked up.
            others: Indices that are looked among; disjoint from `documents`.

        Returns:
            In the order of `documents`.
        """
        document_N, other_N = np.asarray(documents, dtype=np.int64), np.asarray(others, dtype=np.int64)
        if document_N.size == 0 or other_N.size == 0:
            return []
        others_SN = self._prefixes_NS[other_N].T.tocsr()
        is_member_S = np.zeros(self._sets_NS.shape[1], dtype=np.int64)
        found = []
        for start in range(0, document_N.size, _ROWS_AT_ONCE):
            chunk = document_N[start : start + _ROWS_AT_ONCE]
            candidates = (self._prefixes_NS[chunk] @ others_SN).tocsr()
            for row, document in enumerate(chunk):
                hits = candidates.indices[candidates.indptr[row] : candidates.indptr[row + 1]]
                match = self._nearest(int(document), other_N[np.sort(hits)], is_member_S)
                if match is not None:
                    found.append(match)
        return found

    def _nearest(self, document: int, candidates: NDArray[np.int64], is_member_S: NDArray[np.int64]) -> Match | None:
        """The nearest candidate that reaches the threshold; is_member_S is all 0 before and after."""
        sizes, size = self._sizes_N[candidates], self._sizes_N[document]
        candidates = candidates[np.minimum(sizes, size) >= self._threshold * np.maximum(sizes, size) - _ROUNDING]
        if candidates.size == 0:
            return None
        columns = self._sets_NS.indices[self._sets_NS.indptr[document] : self._sets_NS.indptr[document + 1]]
        is_member_S[columns] = 1
        shared = self._sets_NS[candidates] @ is_member_S
        is_member_S[columns] = 0
        jaccard = shared / (self._sizes_N[candidates] + size - shared)
        best = int(np.argmax(jaccard))
        if jaccard[best] < self._threshold - _ROUNDING:
            return None
        return Match(document, int(candidates[best]), float(jaccard[best]))


def _indicator(row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(row.size, dtype=np.int64), (row, column)), shape=shape)
