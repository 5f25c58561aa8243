"""Workers that are killed while they stream: every request ends once, and pays what was seen.

`SOLARIS_KILL_STREAMS` and `SOLARIS_KILLS` make it longer: 200 and 20 are the full form.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import pytest

from app.config.settings import Settings
from tests.fakes.litellm import FakeLiteLLM
from tests.ledger.streams import BODY, TOKEN, CountingProvider, charges, is_balanced
from tests.servers import ProxyServer

STREAMS = int(os.environ.get("SOLARIS_KILL_STREAMS", "60"))
KILLS = int(os.environ.get("SOLARIS_KILLS", "3"))
TOKENS, PAUSE_S = 400, 0.01
HOLD_LIFETIME_S = 3
# One second's are promised.
TWO_SECONDS_TOKENS = 2 / PAUSE_S
SEED = 20261123


@dataclass
class Seen:
    """What the callers got: tokens by request, and how many streams came to their end."""

    tokens: Counter[str] = field(default_factory=Counter)
    complete: int = 0
    # Those that met a worker that was just being killed.
    unanswered: int = 0


@pytest.mark.timeout(60 + 30 * KILLS)
def test_killed_workers_leave_no_hold_and_no_stream_free(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    settings: Settings,
    make_key: Callable[..., str],
) -> None:
    provider = CountingProvider(TOKENS, PAUSE_S)
    upstream.default = provider
    env = {"USER_CONCURRENCY": "0", "HOLD_LIFETIME": str(HOLD_LIFETIME_S)}
    proxy = start_proxy(workers=2, env=env)
    seen = Seen()

    asyncio.run(_stream_and_kill(proxy, make_key(), seen))

    charged = charges(settings.database.url, within_s=3 * HOLD_LIFETIME_S)
    states = Counter(charge.state for charge in charged.values())
    short = {
        request_id: (tokens, charged[request_id].output_tokens)
        for request_id, tokens in seen.tokens.items()
        if charged[request_id].output_tokens < tokens
    }
    beyond = max(charge.output_tokens - provider.written[it] for it, charge in charged.items())
    sys.stdout.write(
        f"\n{KILLS} kills, {STREAMS} streams each: {seen.complete} complete,"
        f" {seen.unanswered} unanswered, {dict(states)};"
        f" charged at most {beyond} tokens more than the provider wrote\n"
    )
    assert states["expired"] > 0
    assert states["settled"] + states["expired"] == len(charged)
    assert short == {}
    assert beyond <= TWO_SECONDS_TOKENS
    assert is_balanced(settings.database.url, charged)


async def _stream_and_kill(proxy: ProxyServer, key: str, seen: Seen) -> None:
    chance = random.Random(SEED)  # no secret
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(KILLS):
            streams = [
                asyncio.create_task(_stream(session, proxy.url, key, seen)) for _ in range(STREAMS)
            ]
            await asyncio.sleep(chance.uniform(0.5, TOKENS * PAUSE_S))
            chance.choice(proxy.workers).kill()
            await asyncio.gather(*streams)


async def _stream(session: aiohttp.ClientSession, url: str, key: str, seen: Seen) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    request_id = None
    raw = b""
    try:
        async with session.post(f"{url}/v1/chat/completions", data=BODY, headers=headers) as answer:
            request_id = answer.headers["x-request-id"]
            async for chunk in answer.content.iter_any():
                raw += chunk
                seen.tokens[request_id] = raw.count(TOKEN)
    except aiohttp.ClientError:
        seen.unanswered += request_id is None
    else:
        seen.complete += 1
