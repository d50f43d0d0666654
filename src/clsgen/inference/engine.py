"""Token ids in, logits and ids out; knows no text. B examples, C classes, V vocabulary, N rows.

One prefill serves both heads: the class logits come from the last prompt token, and decoding goes on from the same
keys and values. Probability alone keeps none and never touches the vocabulary projection.

There are two engines. `plain` (plain_engine.py) is the readable reference and reads any architecture through its stock
forward; `fast` (fast_engine.py) gives the same numbers for the common ones without padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from clsgen.data.template import Prompt
from clsgen.model.dual import DualModel

_Method = TypeVar("_Method", bound=Callable[..., Any])


def asks(method: _Method) -> _Method:
    """Decorates methods that run `self.model`: without a graph, and by one thread at a time where it needs that."""

    @wraps(method)
    def asking(self: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(), self.model.turn():
            return method(self, *args, **kwargs)

    return cast(_Method, asking)


class Prefilled(ABC):
    """What one reading of B prompts leaves behind.

    Attributes:
        class_logits_BC: float32, on the CPU.
        num_tokens: Length of each prompt.
    """

    class_logits_BC: Tensor
    num_tokens: tuple[int, ...]

    @abstractmethod
    def select(self, rows: Sequence[int]) -> Prefilled:
        """The same for some of the rows, in the order given; this one is used up."""


class Generated(NamedTuple):
    """ids: what was written after the forced ids, end token left out. has_ended: whether it ended by itself."""

    ids: list[int]
    has_ended: bool


class Pick:
    """Chooses the most likely next id of each row; others choose otherwise."""

    def __call__(self, logits_NV: Tensor, rows: Sequence[int]) -> list[int]:
        """The next ids, from vocabulary logits (N, V) and the N rows that they belong to."""
        found: list[int] = logits_NV.argmax(dim=-1).tolist()
        return found

    def forget(self, row: int) -> None:
        """A row has ended: whatever is remembered of it can go."""


likeliest = Pick()


class Writer(ABC):
    """Rows that write together; others may join and leave between any two steps."""

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """Rows that write."""

    @property
    @abstractmethod
    def max_rows(self) -> int:
        """Rows that may write at a time."""

    @property
    def has_room(self) -> bool:
        """Whether another row may be added now."""
        return self.num_rows < self.max_rows

    @abstractmethod
    def add(self, key: int, prefilled: Prefilled, forced: Sequence[int], *, max_new_tokens: int) -> None:
        """Let a row write.

        Args:
            key: What `step` calls it.
            prefilled: Of this row alone; used up.
            forced: Ids put after the prompt before the model writes, not empty.
            max_new_tokens: Ids written after the forced ones, the end token included.
        """

    @abstractmethod
    def drop(self, key: int) -> None:
        """Free the place of a row that need not end."""

    @abstractmethod
    def step(self) -> dict[int, list[int]]:
        """Key -> ids just written, for rows that wrote; one that ended gives the end id last and is gone."""


class Part(NamedTuple):
    """Rows that were read together and are to write.

    keys: what `Engine.write` calls them. prefilled: the rows; used up. forced: ids put after each prompt before the
    model writes, none empty. max_new_tokens: ids that each writes after the forced ones, the end token included.
    """

    keys: Sequence[int]
    prefilled: Prefilled
    forced: Sequence[Sequence[int]]
    max_new_tokens: Sequence[int]


class Engine(ABC):
    """Reads prompts and writes explanations.

    Args:
        model: The model; it is put into evaluation mode.
        pad_id: A reserved id.
        end_id: Where an explanation ends.

    Attributes:
        name: fast or plain.
        can_split: Whether rows may be selected from one prefill again and again; else `select` uses it up.
    """

    name: str
    can_split: bool

    def __init__(self, model: DualModel, *, pad_id: int, end_id: int) -> None:
        self.model = model.eval()
        self.end_id = end_id
        self._pad_id = pad_id

    @abstractmethod
    def plan(self, prompts: Sequence[Prompt], *, batch_tokens: int) -> list[list[int]]:
        """Which prompts are read together: lists of their indices, each once, derived from the prompts alone.

        Args:
            prompts: What is to be read.
            batch_tokens: Tokens that one reading may take; a longer prompt is read alone.
        """

    @abstractmethod
    def class_logits(self, prompts: Sequence[Prompt]) -> Tensor:
        """Class logits (B, C) float32 on the CPU; generates nothing, keeps nothing."""

    @abstractmethod
    def prefill(self, prompts: Sequence[Prompt]) -> Prefilled:
        """Read prompts once, for both heads."""

    @abstractmethod
    def write(self, parts: Iterable[Part], *, pick: Pick = likeliest) -> Iterator[tuple[int, Generated]]:
        """Write an explanation for every row of the parts, as they come.

        Args:
            parts: Asked for one by one, as there is room for their rows to write: whoever reads lazily holds few.
            pick: Chooses among the next ids.

        Returns:
            Key and text of each row, in the order in which they end.
        """

    @abstractmethod
    def writer(self, pick: Pick = likeliest) -> Writer:
        """A writer with no row in it."""

    def generate(
        self, prefilled: Prefilled, forced: Sequence[Sequence[int]], *, max_new_tokens: int, pick: Pick = likeliest
    ) -> list[Generated]:
        """Write an explanation for each row of a prefill, which is used up; see `Part`."""
        part = Part(range(len(forced)), prefilled, forced, [max_new_tokens] * len(forced))
        found = dict(self.write([part], pick=pick))
        return [found[row] for row in range(len(forced))]

    def ended(self, ids: Sequence[int]) -> Generated:
        """What was written, from the ids of a row that has ended."""
        return Generated(list(ids[:-1]), True) if ids and ids[-1] == self.end_id else Generated(list(ids), False)
