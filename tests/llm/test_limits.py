from __future__ import annotations

import asyncio
import random

import pytest

from clsgen.errors import BudgetError, ConfigError
from clsgen.llm.limits import Budget, Prices, RateLimit, Tokens


class Clock:
    """Seconds that pass only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def starts(limit: RateLimit, tokens: list[int]) -> list[float]:
    async def run() -> list[float]:
        return [(await limit.wait(each)).started_seconds for each in tokens]

    return asyncio.run(run())


# ---- a minute ----


def test_no_bound_never_waits() -> None:
    clock = Clock()
    assert starts(RateLimit(clock=clock, sleep=clock.sleep), [10**9] * 5) == [0.0] * 5


def test_requests_a_minute() -> None:
    clock = Clock()
    limit = RateLimit(requests_per_minute=2, clock=clock, sleep=clock.sleep)
    assert starts(limit, [1, 1, 1, 1, 1]) == [0.0, 0.0, 60.0, 60.0, 120.0]


def test_the_minute_slides() -> None:
    clock = Clock()
    limit = RateLimit(requests_per_minute=2, clock=clock, sleep=clock.sleep)
    assert starts(limit, [1]) == [0.0]
    clock.now = 50.0
    # A bucket that fills by the clock's minute would let two start at 60; the one of second 50 still counts.
    assert starts(limit, [1, 1, 1]) == [50.0, 60.0, 110.0]


def test_tokens_a_minute() -> None:
    clock = Clock()
    limit = RateLimit(tokens_per_minute=100, clock=clock, sleep=clock.sleep)
    # 60 + 40 fill the minute; 50 fits when the 60 have left, and so do the next 10 (40 have left by then too).
    assert starts(limit, [60, 40, 50, 10, 50]) == [0.0, 0.0, 60.0, 60.0, 120.0]


def test_a_request_over_the_minutes_tokens_starts_after_an_empty_minute() -> None:
    clock = Clock()
    limit = RateLimit(tokens_per_minute=100, clock=clock, sleep=clock.sleep)
    assert starts(limit, [500, 1]) == [0.0, 60.0]


def test_a_request_that_took_less_makes_room() -> None:
    clock = Clock()
    limit = RateLimit(tokens_per_minute=100, clock=clock, sleep=clock.sleep)

    async def run() -> float:
        use = await limit.wait(90)
        use.num_tokens = 20
        return (await limit.wait(80)).started_seconds

    assert asyncio.run(run()) == 0.0


def test_no_window_of_a_minute_holds_more_than_allowed() -> None:
    draw = random.Random(0)
    tokens = [draw.randint(1, 400) for _ in range(200)]
    clock = Clock()
    limit = RateLimit(requests_per_minute=7, tokens_per_minute=1000, clock=clock, sleep=clock.sleep)
    begun = starts(limit, tokens)
    assert begun == sorted(begun)
    for first in begun:
        window = [each for at, each in zip(begun, tokens, strict=True) if first <= at < first + 60]
        assert len(window) <= 7
        assert sum(window) <= 1000


# ---- a budget ----


def test_a_budget_counts_tokens_and_money() -> None:
    budget = Budget(prices=Prices(input_per_million=2.5, output_per_million=10.0))

    async def run() -> None:
        async with budget.reserve(Tokens(5_000, 1_000)) as charge:
            charge.tokens = Tokens(4_000, 200)

    asyncio.run(run())
    budget.charge(Tokens(1_000, 0))
    assert budget.spent == Tokens(5_000, 200)
    assert budget.spent_money == pytest.approx(0.0145)  # 5,000 * 2.5 / 1e6 + 200 * 10 / 1e6


def test_money_is_unknown_without_prices() -> None:
    assert Budget(max_tokens=5).spent_money is None


def test_a_budget_in_money_needs_prices() -> None:
    with pytest.raises(ConfigError, match="budget: the prices must be known for a budget in money; got none"):
        Budget(max_money=1.0)


async def spend(budget: Budget, worst: Tokens, true: Tokens, *, release: asyncio.Event | None = None) -> None:
    async with budget.reserve(worst) as charge:
        if release is not None:
            await release.wait()
        charge.tokens = true


def test_the_worst_case_must_fit() -> None:
    budget = Budget(max_tokens=100)
    asyncio.run(spend(budget, Tokens(60, 40), Tokens(50, 30)))
    with pytest.raises(BudgetError, match=r"must stay within 100 tokens; got 80 tokens spent, .* may cost 21 tokens"):
        asyncio.run(spend(budget, Tokens(20, 1), Tokens(1, 1)))
    asyncio.run(spend(budget, Tokens(20, 0), Tokens(20, 0)))
    assert budget.spent == Tokens(100, 30) - Tokens(30, 0)


def test_the_worst_case_must_fit_in_money() -> None:
    budget = Budget(max_money=1.0, prices=Prices(1.0, 4.0))  # 100,000 read and 100,000 written cost 0.5
    asyncio.run(spend(budget, Tokens(100_000, 100_000), Tokens(100_000, 100_000)))
    with pytest.raises(
        BudgetError, match="within 1 in money; got 0.5 spent, and the next request may cost 0.9"
    ) as caught:
        asyncio.run(spend(budget, Tokens(100_000, 200_000), Tokens()))
    assert caught.value.reason == "budget"
    assert budget.spent_money == 0.5


def test_a_request_waits_for_the_true_cost_of_the_others() -> None:
    budget = Budget(max_tokens=100)

    async def run() -> None:
        release = asyncio.Event()
        first = asyncio.create_task(spend(budget, Tokens(50, 30), Tokens(10, 0), release=release))
        second = asyncio.create_task(spend(budget, Tokens(20, 20), Tokens(20, 20)))
        await asyncio.sleep(0.01)
        assert not second.done()  # 80 reserved and 40 asked for
        release.set()
        await asyncio.gather(first, second)

    asyncio.run(run())
    assert budget.spent == Tokens(30, 20)


def test_a_request_that_waited_in_vain_is_told_so() -> None:
    budget = Budget(max_tokens=100)

    async def run() -> list[BaseException | None]:
        release = asyncio.Event()
        tasks = [spend(budget, Tokens(80, 0), Tokens(80, 0), release=release)]
        tasks += [spend(budget, Tokens(30, 0), Tokens(30, 0)) for _ in range(3)]
        asyncio.get_running_loop().call_later(0.01, release.set)
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(run())
    assert [type(each) for each in results] == [type(None), BudgetError, BudgetError, BudgetError]
    assert budget.spent == Tokens(80, 0)


def test_what_fails_gives_its_reservation_back() -> None:
    budget = Budget(max_tokens=100)

    async def run() -> None:
        async with budget.reserve(Tokens(100, 0)):
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            asyncio.run(run())
    assert budget.spent == Tokens()
