"""What tests of the ledger have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.config.settings import BudgetSettings, RedisSettings, Settings
from tests.asgi_client import AsgiClient
from tests.ledger.served import Served, StartServed
from tests.ledger.windows import redis_at


@pytest.fixture
def serve(
    start_asgi: Callable[..., AsgiClient], settings: Settings, make_key: Callable[..., str]
) -> StartServed:
    """Serve a proxy: ``serve(redis_url=…, key=…, quota_status=429)``; the rest is of budgets."""

    def start(*, redis_url: str | None = None, key: str | None = None, **budgets: Any) -> Served:
        chosen = replace(
            settings, budgets=BudgetSettings(**budgets), redis=RedisSettings(redis_url)
        )
        client = start_asgi(settings=chosen)
        return Served(client, key or make_key(trusted=True))

    return start


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
