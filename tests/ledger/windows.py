"""What tests of the short windows have in common: workers, and the calls they let in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from app.ledger.book import Demand, Reserve
from app.ledger.periods import Window
from app.ledger.rules import Account, Budget
from app.services.redis_link import RedisLink
from app.services.short_windows import ShortWindows
from app.utils.clock import Clock, SystemClock
from tests.fakes.clock import FakeClock

NOW = FakeClock().now()
MINUTE = Window(NOW, NOW + timedelta(minutes=1))
# Half a minute later; a call of 100 tokens that costs as many micro-USD.
DEMAND = Demand(10, 90, 1, input_price=1_000_000, output_price=1_000_000, is_flexible=False)


def minute_budget(
    limit: int, metric: str = "requests", mode: str = "enforce", budget_id: int = 1
) -> Account:
    budget = Budget(budget_id, "user", "*", metric, "minute", limit, mode)
    return Account(budget, "ana", MINUTE, is_own=True)


def wish(hold_id: str, accounts: Sequence[Account], demand: Demand = DEMAND) -> Reserve:
    return Reserve(hold_id, "gpt-4o", tuple(accounts), demand, datetime.max.replace(tzinfo=UTC))


@asynccontextmanager
async def links(url: str, count: int = 2) -> AsyncIterator[list[RedisLink]]:
    async with AsyncExitStack() as opened:
        made = [RedisLink(url, SystemClock()) for _ in range(count)]
        for link in made:
            opened.push_async_callback(link.close)
        yield made


@asynccontextmanager
async def workers(
    url: str, clock: Clock | None = None, count: int = 2
) -> AsyncIterator[list[ShortWindows]]:
    """Several workers' windows; time stands still for them unless there is another clock."""
    async with links(url, count) as made:
        yield [ShortWindows(link, count, clock or FakeClock()) for link in made]


@asynccontextmanager
async def redis_at(url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(url, decode_responses=True)
    try:
        yield redis
    finally:
        await redis.aclose()
