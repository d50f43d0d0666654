"""Memory that was freed and is still held: glibc keeps it, in the holes that batches of ever new shapes leave."""

from __future__ import annotations

import ctypes
from typing import Any

_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


def share_one_heap() -> None:
    """Let the threads of this process allocate from one heap, where each would hold freed memory of its own.

    To be called before there are threads; does nothing where the C library is not glibc.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return freed memory to the system; does nothing where the C library is not glibc."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None)
