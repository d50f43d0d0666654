"""A coroutine is run to its end whether or not a loop runs already."""

from __future__ import annotations

import asyncio

import pytest

from clsgen.llm.loop import finished


async def doubled(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError("negative")
    return 2 * number


def test_within_a_loop_as_without() -> None:
    async def notebook() -> int:
        return finished(doubled(2))

    assert finished(doubled(2)) == asyncio.run(notebook()) == 4


def test_errors_come_out_of_it() -> None:
    async def notebook() -> int:
        return finished(doubled(-1))

    for run in (lambda: finished(doubled(-1)), lambda: asyncio.run(notebook())):
        with pytest.raises(ValueError, match="negative"):
            run()
