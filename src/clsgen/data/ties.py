"""Which rows belong together: connected components over group keys and equal documents. N rows, K keys."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clsgen.types import Example

_KEY_BYTES = 16


def normalized(text: str) -> str:
    """The text in one case and with single spaces, to compare documents by."""
    return " ".join(text.casefold().split())


def document_digest(document: str) -> str:
    """Hex digest of a document, letter case and white space aside; whatever is asked about it."""
    return _digest(document, "")


def text_digest(example: Example) -> str:
    """Hex digest of what a row says, letter case and white space aside: equal for rows that read alike."""
    return _digest(example.document, example.question)


def _digest(document: str, question: str) -> str:
    content = f"{normalized(document)}\x00{normalized(question)}"
    return hashlib.blake2b(content.encode(), digest_size=_KEY_BYTES).hexdigest()


class Ties:
    """What ties rows together, taken one row at a time; of each document and group key 16 bytes are kept, no text."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._num_keys: list[int] = []

    def add(self, example: Example) -> None:
        """Take the next row."""
        keys = ["d" + normalized(example.document), *("g" + group for group in example.groups)]
        for key in keys:
            self._keys += hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
        self._num_keys.append(len(keys))

    def components(self) -> NDArray[np.int64]:
        """The connected component of each row (N,), numbered from 0 by first appearance."""
        num_rows = len(self._num_keys)
        if not num_rows:
            return np.empty(0, dtype=np.int64)
        _, key_K = np.unique(np.frombuffer(bytes(self._keys), dtype=f"V{_KEY_BYTES}"), return_inverse=True)
        row_K = np.repeat(np.arange(num_rows), self._num_keys)
        size = num_rows + int(key_K.max()) + 1
        edges = coo_array((np.ones(len(row_K), dtype=np.int8), (row_K, num_rows + key_K)), shape=(size, size))
        _, raw = connected_components(edges, directed=False)
        _, first_C, component_N = np.unique(raw[:num_rows], return_index=True, return_inverse=True)
        rank_C = np.empty(len(first_C), dtype=np.int64)
        rank_C[np.argsort(first_C)] = np.arange(len(first_C))
        return np.asarray(rank_C[component_N], dtype=np.int64)
