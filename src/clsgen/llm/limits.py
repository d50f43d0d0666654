"""What keeps requests within bounds: how many a minute, and what they may cost in all.

Both belong to one event loop and may be shared by the clients of that loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from clsgen.errors import BudgetError, ConfigError

_MINUTE_SECONDS = 60.0
_LOOK_SECONDS = 1.0
"""A waiting request looks again this often, since a finished one may turn out to have used less than was expected."""


@dataclass(slots=True)
class Use:
    """One request in the sliding minute; `num_tokens` is corrected once the true number is known."""

    started_seconds: float
    num_tokens: int


class RateLimit:
    """Lets requests start so that no 60 seconds see more requests, or more tokens, than allowed; first come first."""

    def __init__(
        self,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """A limit of its own.

        Args:
            requests_per_minute: Most requests that start within 60 seconds; None means no bound.
            tokens_per_minute: Most tokens, read and written, of requests that start within 60 seconds; None likewise.
            clock: Seconds that never go back.
            sleep: Waits so many seconds of that clock.
        """
        self._most_requests = requests_per_minute
        self._most_tokens = tokens_per_minute
        self._clock = clock
        self._sleep = sleep
        self._uses: deque[Use] = deque()
        self._turn = asyncio.Lock()

    async def wait(self, num_tokens: int) -> Use:
        """Return when the request may start. One with more tokens than a minute allows starts after an empty minute.

        Args:
            num_tokens: Tokens it is expected to read and write.

        Returns:
            The entry of the request, for its number of tokens to be corrected.
        """
        if self._most_requests is None and self._most_tokens is None:
            return Use(self._clock(), num_tokens)
        async with self._turn:
            while (delay := self._delay_seconds(num_tokens)) > 0:
                await self._sleep(min(delay, _LOOK_SECONDS))
            use = Use(self._clock(), num_tokens)
            self._uses.append(use)
            return use

    def _delay_seconds(self, num_tokens: int) -> float:
        now = self._clock()
        while self._uses and self._uses[0].started_seconds + _MINUTE_SECONDS <= now:
            self._uses.popleft()
        num_requests = len(self._uses)
        tokens = sum(use.num_tokens for use in self._uses)
        delay = 0.0
        for use in self._uses:  # the oldest leave the minute until the new one fits
            is_full = self._most_requests is not None and num_requests >= self._most_requests
            is_over = self._most_tokens is not None and tokens + num_tokens > self._most_tokens
            if not (is_full or is_over):
                break
            delay = use.started_seconds + _MINUTE_SECONDS - now
            num_requests -= 1
            tokens -= use.num_tokens
        return delay


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens read (prompt) and written (completion)."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt - other.prompt, self.completion - other.completion)

    @property
    def total(self) -> int:
        """Both together."""
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Prices:
    """Money per million tokens, in whatever currency the budget is in."""

    input_per_million: float
    output_per_million: float

    def cost(self, tokens: Tokens) -> float:
        """Money for so many tokens.

        >>> Prices(2.0, 10.0).cost(Tokens(500_000, 100_000))
        2.0
        """
        return (tokens.prompt * self.input_per_million + tokens.completion * self.output_per_million) / 1e6


@dataclass(slots=True)
class Charge:
    """What a reservation will have cost when it ends: nothing until `tokens` is set."""

    tokens: Tokens = field(default_factory=Tokens)


class Budget:
    """Tokens or money that requests may cost in all. A request reserves its worst case and is charged what it cost."""

    def __init__(
        self, *, max_tokens: int | None = None, max_money: float | None = None, prices: Prices | None = None
    ) -> None:
        """A budget of which nothing is spent.

        Args:
            max_tokens: Most tokens, read and written; None means no bound.
            max_money: Most money; None means no bound.
            prices: What tokens cost; None where it is not known.

        Raises:
            ConfigError: A bound in money without prices.
        """
        if max_money is not None and prices is None:
            raise ConfigError(
                "budget: the prices must be known for a budget in money; got none. Give the prices per million input "
                "and output tokens, or a budget in tokens."
            )
        self.max_tokens = max_tokens
        self.max_money = max_money
        self.prices = prices
        self.spent = Tokens()
        self._reserved = Tokens()
        self._num_reserved = 0
        self._ended = asyncio.Event()

    @property
    def spent_money(self) -> float | None:
        """Money spent; None where prices are not known."""
        return None if self.prices is None else self.prices.cost(self.spent)

    def charge(self, tokens: Tokens) -> None:
        """Count tokens as spent, such as those of a run that is resumed."""
        self.spent += tokens

    @contextlib.asynccontextmanager
    async def reserve(self, worst: Tokens) -> AsyncIterator[Charge]:
        """Hold `worst` until the block ends, then charge what the block set.

        Where it doesn't fit beside what is reserved, it waits for the true cost of the others.

        Raises:
            BudgetError: It doesn't fit, and there is nothing to wait for.
        """
        while not self._fits(self.spent + self._reserved + worst):
            if self._num_reserved == 0:
                raise BudgetError(self._describe(worst))
            await self._ended.wait()
        self._reserved += worst
        self._num_reserved += 1
        charge = Charge()
        try:
            yield charge
        finally:
            self._reserved -= worst
            self._num_reserved -= 1
            self.charge(charge.tokens)
            self._ended.set()
            self._ended = asyncio.Event()

    def _fits(self, tokens: Tokens) -> bool:
        if self.max_tokens is not None and tokens.total > self.max_tokens:
            return False
        return self.max_money is None or self.prices is None or self.prices.cost(tokens) <= self.max_money

    def _describe(self, worst: Tokens) -> str:
        bounds, spent, asked = [], [], []
        if self.max_tokens is not None:
            bounds.append(f"{self.max_tokens} tokens")
            spent.append(f"{self.spent.total} tokens")
            asked.append(f"{worst.total} tokens")
        if self.max_money is not None and self.prices is not None:
            bounds.append(f"{self.max_money:g} in money")
            spent.append(f"{self.prices.cost(self.spent):g}")
            asked.append(f"{self.prices.cost(worst):g}")
        return (
            f"budget: what is spent must stay within {' and '.join(bounds)}; got {' and '.join(spent)} spent, and the "
            f"next request may cost {' and '.join(asked)}. Raise the budget, or ask for fewer tokens."
        )
