"""What tests of the ledger have in common."""

from __future__ import annotations

import asyncio

import pytest

from tests.ledger.windows import redis_at


@pytest.fixture(params=["redis", "postgres"])
def place(request: pytest.FixtureRequest) -> str | None:
    """Where budgets by the minute are: a Redis, or None, which is Postgres."""
    if request.param == "postgres":
        return None
    url: str = request.getfixturevalue("redis_url")
    asyncio.run(_flush(url))
    return url


async def _flush(url: str) -> None:
    async with redis_at(url) as redis:
        await redis.flushall()
