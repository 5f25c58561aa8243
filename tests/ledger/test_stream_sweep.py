"""1 to 128 streams at once of any length on one budget: what passes its limit, by measurement."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import orjson
import pytest
from aiohttp import web
from sqlalchemy import create_engine, text

from app.config.settings import Settings
from tests.fakes.litellm import FakeLiteLLM
from tests.ledger.streams import DONE, TOKEN, USAGE
from tests.servers import ProxyServer, run_solaris
from tests.waiting import wait_until

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
# Room for some of the larger steps only.
LIMIT_TOKENS = 10_000
LONGEST, PROMPT_TOKENS, PAUSE_S = 400, 20, 0.002
SEED = 20261123


@dataclass
class ObedientProvider:
    """Writes as many tokens as it likes, never more than it was asked for."""

    chance: random.Random
    # Tokens of prompt and answer, by the pseudonym of the person.
    generated: Counter[str] = field(default_factory=Counter)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        length = self.chance.randint(1, min(asked["max_tokens"], LONGEST))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(length):
            await response.write(TOKEN)
            await asyncio.sleep(PAUSE_S)
        self.generated[asked["user"]] += PROMPT_TOKENS + length
        await response.write(USAGE % (PROMPT_TOKENS, length) + DONE)
        return response


@dataclass(frozen=True)
class Step:
    """What came of so many streams at once on one person's budget."""

    streams: int
    answered: int
    refused: int
    generated: int
    posted: int

    @property
    def overshoot(self) -> int:
        return max(0, self.generated - LIMIT_TOKENS)

    def __str__(self) -> str:
        figures = (self.streams, self.answered, self.refused, self.generated, self.posted)
        return " ".join(f"{it:>9,}" for it in (*figures, self.overshoot))


@pytest.mark.timeout(240)
def test_streams_at_once_never_generate_more_than_their_budget_had(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    settings: Settings,
    make_key: Callable[..., str],
) -> None:
    upstream.default = provider = ObedientProvider(random.Random(SEED))  # no secret
    proxy = start_proxy(workers=2, env={"USER_CONCURRENCY": "0"})
    place = ["--scope", "user", "--subject", "*", "--metric", "tokens", "--period", "month"]
    made = run_solaris(proxy.environment, "budgets", "set", *place, "--limit", str(LIMIT_TOKENS))
    assert made.returncode == 0, made.stderr
    key = make_key(trusted=True)

    *answers, waves = asyncio.run(_sweep(proxy.url, key))

    generated = list(provider.generated.values())
    posted = _posted(settings.database.url)
    steps = [
        Step(statuses.total(), statuses[200], statuses[402], total, posted[person])
        for (person, statuses), total in zip([*answers, waves], generated, strict=True)
    ]
    *at_once, spent = steps
    titles = ("at once", "answered", "refused", "generated", "posted", "overshoot")
    lines = [" ".join(f"{it:>9}" for it in titles), *map(str, at_once)]
    lines.append(f"waves of {STEPS[-1]} until one is refused whole:\n{spent}")
    sys.stdout.write("\n".join(["", f"limit {LIMIT_TOKENS:,} tokens", *lines, ""]))
    assert [it.streams for it in at_once] == list(STEPS)
    assert [it.overshoot for it in steps] == [0] * len(steps)
    assert [it.posted for it in steps] == generated
    assert all(it.answered + it.refused == it.streams for it in steps)
    assert all(it.refused == 0 for it in steps if it.streams <= 8)
    # What was held for too much is given back: in the end no more is left than a call may need.
    assert spent.generated > LIMIT_TOKENS * 0.95


async def _sweep(url: str, key: str) -> list[tuple[str, Counter[int]]]:
    """Return what came of each step; the last is many steps of one person's."""
    chance = random.Random(SEED)  # no secret
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        # The budget binds every worker within two seconds.
        await asyncio.sleep(2.5)
        steps = []
        for streams in STEPS:
            person = f"person-{streams}"
            calls = (_stream(session, url, key, person, chance) for _ in range(streams))
            steps.append((person, Counter(await asyncio.gather(*calls))))
        waves, answered = Counter[int](), True
        while answered:
            calls = (_stream(session, url, key, "spender", chance) for _ in range(STEPS[-1]))
            wave = Counter(await asyncio.gather(*calls))
            waves += wave
            answered = wave[200] > 0
        return [*steps, ("spender", waves)]


async def _stream(
    session: aiohttp.ClientSession, url: str, key: str, person: str, chance: random.Random
) -> int:
    """Ask for at most so much, or not say how much, as every eighth does."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "conte"}], "stream": True}
    if chance.random() > 1 / 8:
        body["max_tokens"] = chance.randint(20, LONGEST)
    headers = {"Authorization": f"Bearer {key}", "X-Solaris-User-Id": person}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        content = await answer.read()
        assert answer.status != 200 or content.endswith(DONE)
        return answer.status


def _posted(database_url: str) -> dict[str, int]:
    """Return what each person was charged, when nothing is pending any more."""
    engine = create_engine(database_url)
    query = text(
        "SELECT budget_lines.subject, posted, pending FROM budget_lines"
        " JOIN budgets ON budgets.id = budget_id WHERE budgets.scope = 'user'"
    )

    def rows() -> list[tuple[str, int, int]]:
        with engine.connect() as connection:
            return [(it.subject, it.posted, it.pending) for it in connection.execute(query)]

    try:
        wait_until(lambda: not any(pending for *_, pending in rows()), 20)
        return {subject: posted for subject, posted, _ in rows()}
    finally:
        engine.dispose()
