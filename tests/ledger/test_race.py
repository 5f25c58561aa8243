"""Room for exactly ten of 64 simultaneous calls: two proxies with two workers, one Postgres."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
import pytest
from sqlalchemy import create_engine, text

from app.config.settings import Settings
from tests.fakes.litellm import FakeLiteLLM, completion
from tests.servers import ProxyServer, run_solaris

ROOM, CALLS, ROUNDS = 10, 64, 100
OUTPUT_TOKENS = 90
BODY = orjson.dumps(
    {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Olá!"}],
        "max_tokens": OUTPUT_TOKENS,
    }
)
# Every byte of the body may be a token.
HELD_TOKENS = len(BODY) + OUTPUT_TOKENS
# What the upstream says was used is what was held, so that no room comes back within a round.
USAGE = {"prompt_tokens": len(BODY), "completion_tokens": OUTPUT_TOKENS}


@pytest.mark.timeout(300)
def test_calls_racing_for_the_last_room_get_exactly_what_there_is(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    settings: Settings,
    make_key: Callable[..., str],
) -> None:
    upstream.default = completion(usage=USAGE)
    proxies = [start_proxy(workers=2, env={"USER_CONCURRENCY": "0"}) for _ in range(2)]
    limit = str(ROOM * HELD_TOKENS + HELD_TOKENS - 1)
    place = ["--scope", "user", "--subject", "*", "--metric", "tokens", "--period", "month"]
    made = run_solaris(proxies[0].environment, "budgets", "set", *place, "--limit", limit)
    assert made.returncode == 0, made.stderr
    key = make_key(trusted=True)

    outcomes = asyncio.run(_race([proxy.url for proxy in proxies], key))

    assert outcomes == Counter({(200, None): ROOM * ROUNDS, (402, "insufficient_quota"): 5400})
    assert len(upstream.calls) == ROOM * ROUNDS
    assert _posted(settings) == ROOM * ROUNDS * HELD_TOKENS


async def _race(urls: list[str], key: str) -> Counter[tuple[int, str | None]]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        # The budget binds every worker within two seconds.
        await asyncio.sleep(2.5)
        outcomes: Counter[tuple[int, str | None]] = Counter()
        for number in range(ROUNDS):
            calls = [_call(session, urls[i % 2], key, f"person-{number}") for i in range(CALLS)]
            outcomes.update(await asyncio.gather(*calls))
        return outcomes


async def _call(
    session: aiohttp.ClientSession, url: str, key: str, person: str
) -> tuple[int, str | None]:
    headers = {"Authorization": f"Bearer {key}", "X-Solaris-User-Id": person}
    async with session.post(f"{url}/v1/chat/completions", data=BODY, headers=headers) as answer:
        body: dict[str, Any] = orjson.loads(await answer.read())
        return answer.status, body.get("error", {}).get("code")


def _posted(settings: Settings) -> int:
    """Return what is posted on the people's budget, when nothing is pending any more."""
    engine = create_engine(settings.database.url)
    query = text(
        "SELECT sum(posted), sum(pending) FROM budget_lines JOIN budgets ON budgets.id = budget_id"
        " WHERE scope = 'user'"
    )
    try:
        for _ in range(100):
            with engine.connect() as connection:
                posted, pending = connection.execute(query).one()
            if not pending:
                return int(posted)
        raise AssertionError(f"{pending} tokens are still held")
    finally:
        engine.dispose()
