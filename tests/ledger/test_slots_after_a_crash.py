"""A worker that is killed leaves its people's places; a long call keeps its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import orjson
import pytest

from app.config.settings import BudgetSettings, RedisSettings, Settings
from app.services.slot_boards import SLOT_LIFETIME_S
from tests.fakes.litellm import FakeLiteLLM, silence, sse
from tests.ledger.windows import redis_at
from tests.servers import ProxyServer

CALL = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
BODY = orjson.dumps(CALL)
STREAMED = orjson.dumps({**CALL, "stream": True})


@dataclass(frozen=True)
class Pair:
    """Two proxies that share where slots are kept; the first one is to be killed."""

    first: ProxyServer
    second: ProxyServer


@pytest.fixture
def pairs(redis_url: str, settings: Settings, tmp_path: Path) -> Iterator[list[Pair]]:
    """One pair with Redis, one without; one call at once for each person."""
    asyncio.run(_flush(redis_url))
    one = BudgetSettings(user_concurrency=1)
    alone = replace(settings.server, workers=1)
    patient = replace(settings.litellm, timeout_s=4 * SLOT_LIFETIME_S)
    without = replace(settings, budgets=one, server=alone, litellm=patient)
    with_redis = replace(without, redis=RedisSettings(redis_url))
    servers = [ProxyServer(it, tmp_path, {}) for it in (with_redis, with_redis, without, without)]
    for server in servers:
        server.start()
    yield [Pair(*servers[:2]), Pair(*servers[2:])]
    for server in servers:
        server.stop()


async def _flush(url: str) -> None:
    async with redis_at(url) as redis:
        await redis.flushall()


class Person:
    def __init__(self, session: aiohttp.ClientSession, key: str, name: str) -> None:
        self._session = session
        self._headers = {"Authorization": f"Bearer {key}", "X-Solaris-User-Id": name}

    async def ask(self, proxy: ProxyServer) -> int:
        async with self._post(proxy, BODY) as answer:
            return answer.status

    async def begin_stream(self, proxy: ProxyServer) -> aiohttp.ClientResponse:
        answer = await self._post(proxy, STREAMED)
        await answer.content.readany()
        return answer

    def _post(self, proxy: ProxyServer, body: bytes) -> aiohttp.client._RequestContextManager:
        url = f"{proxy.url}/v1/chat/completions"
        return self._session.post(url, data=body, headers=self._headers)


def test_killed_worker_leaves_its_places_and_a_long_call_keeps_its_own(
    pairs: list[Pair], upstream: FakeLiteLLM, make_key: Callable[..., str]
) -> None:
    upstream.default = silence(sse({"choices": [{"delta": {"content": "x"}}]}), seconds=120)
    key = make_key(trusted=True)

    async def run(pair: Pair) -> tuple[list[int], list[int]]:
        async with aiohttp.ClientSession() as session:
            ana, bia = Person(session, key, "ana"), Person(session, key, "bia")
            lost, kept = await ana.begin_stream(pair.first), await bia.begin_stream(pair.second)
            for worker in pair.first.workers:
                worker.kill()
            before = [await ana.ask(pair.second), await bia.ask(pair.second)]
            await asyncio.sleep(SLOT_LIFETIME_S + 1)
            upstream.default = None
            after = [await ana.ask(pair.second), await bia.ask(pair.second)]
            lost.close()
            kept.close()
            return before, after

    async def run_all() -> list[tuple[list[int], list[int]]]:
        return await asyncio.gather(*map(run, pairs))

    started_s = time.monotonic()
    outcomes = asyncio.run(run_all())

    assert outcomes == [([429, 429], [200, 429])] * 2
    assert time.monotonic() - started_s < SLOT_LIFETIME_S + 15
