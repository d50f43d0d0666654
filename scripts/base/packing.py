"""Packed rows: documents one after the other, every position a target, no padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from base.corpus import Tokens


def stream(
    sources: Mapping[str, Tokens], weights: Mapping[str, float], *, end_id: int, seed: int
) -> Iterator[np.ndarray]:
    """Documents without end: each pass takes a source's documents `weight` times, in a new order.

    A weight of 1.5 is every document once and a random half of them again. Each document is preceded by the end
    token, as it will be read when it stands alone.
    """
    generator = np.random.default_rng(seed)
    while True:
        order: list[tuple[str, int]] = []
        for name, tokens in sources.items():
            count = len(tokens.bounds) - 1
            whole, part = divmod(weights[name], 1.0)
            order += [(name, index) for index in range(count)] * int(whole)
            order += [(name, int(index)) for index in generator.permutation(count)[: round(part * count)]]
        for position in generator.permutation(len(order)):
            name, index = order[position]
            tokens = sources[name]
            document = tokens.ids[tokens.bounds[index] : tokens.bounds[index + 1]]
            yield np.concatenate([np.array([end_id], dtype=np.uint16), document])


def joined(tokens: Tokens, *, num: int, between: int) -> Tokens:
    """Every `num` documents as one, `between` after each but the last: lines in their order, most of one article."""
    parts = np.split(tokens.ids, tokens.bounds[1:-1])
    found = []
    for start in range(0, len(parts), num):
        pieces = [piece for part in parts[start : start + num] for piece in (part, np.array([between], np.uint16))]
        found.append(np.concatenate(pieces[:-1]))
    return Tokens(np.concatenate(found), np.cumsum([0, *map(len, found)]))


def rows(documents: Iterator[np.ndarray], *, length: int, num_rows: int) -> Iterator[np.ndarray]:
    """Batches of packed rows.

    Yields:
        (num_rows, length + 1) int64: inputs are [:, :-1], targets [:, 1:].
    """
    wanted = num_rows * length + 1
    buffer = np.empty(0, dtype=np.uint16)
    while True:
        parts, total = [buffer], len(buffer)
        while total < wanted:
            parts.append(next(documents))
            total += len(parts[-1])
        buffer = np.concatenate(parts)
        block = buffer[:wanted].astype(np.int64)
        buffer = buffer[wanted - 1 :]
        yield np.stack([block[start : start + length + 1] for start in range(0, num_rows * length, length)])
