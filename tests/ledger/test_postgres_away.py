"""Postgres stopped, frozen and started again under load: who is served, and what is posted.

`SOLARIS_AWAY_S=20` makes it stay away for as long as the issue asks; it is shorter in the suite.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.litellm import FakeLiteLLM, completion
from tests.fakes.postgres import FragilePostgres
from tests.ledger.streams import charges, is_balanced
from tests.servers import ProxyServer, run_solaris

AWAY_S = float(os.environ.get("SOLARIS_AWAY_S", "3"))
CLIENTS, PAUSE_S = 16, 0.02
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "oi"}], "max_tokens": 9}
USAGE = {"prompt_tokens": 7, "completion_tokens": 5}
# What is under way when Postgres goes still hears of it.
IN_FLIGHT_S = 3.0
# A call waits a second for the budgets and two for its reservation, where it is silent.
LONGEST_S = 3.0 + 2.0
# Workers ask again after a second, or five at the most.
BACK_WITHIN_S = 10.0


@dataclass(frozen=True)
class Told:
    """What one caller was told."""

    status: int
    request_id: str
    retry_after: str | None
    began_at_s: float
    ended_at_s: float


@dataclass
class Load:
    """Callers who call one after the other, until told to stop."""

    url: str
    key: str
    told: list[Told] = field(default_factory=list)
    _is_over: bool = False
    _since_s: float = 0.0
    _served: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            callers = [asyncio.create_task(self._call_on(session)) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self._is_over = True
                await asyncio.gather(*callers)

    async def served_again(self) -> None:
        """Wait until a call that begins now is answered."""
        self._since_s = time.monotonic()
        self._served.clear()
        async with asyncio.timeout(BACK_WITHIN_S):
            await self._served.wait()

    def between(self, first_s: float, last_s: float) -> list[Told]:
        return [it for it in self.told if first_s < it.began_at_s and it.ended_at_s < last_s]

    async def _call_on(self, session: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.url}/v1/chat/completions"
        while not self._is_over:
            began_at_s = time.monotonic()
            async with session.post(url, json=BODY, headers=headers) as answer:
                await answer.read()
            self.told.append(
                Told(
                    answer.status,
                    answer.headers["x-request-id"],
                    answer.headers.get("Retry-After"),
                    began_at_s,
                    time.monotonic(),
                )
            )
            if answer.status == 200 and began_at_s > self._since_s:
                self._served.set()
            await asyncio.sleep(PAUSE_S)


@dataclass(frozen=True)
class Place:
    """A proxy of two workers on a Postgres of its own, and a load on it."""

    postgres: FragilePostgres
    load: Load
    database_url: str

    def assert_books_say_what_was_answered(self) -> None:
        """Every answer is posted once, nothing else is, and nothing is held any more."""
        charged = charges(self.database_url, within_s=20)
        answered = {it.request_id for it in self.load.told if it.status == 200}
        posted = {request_id: it.tokens for request_id, it in charged.items() if it.tokens}
        assert posted == dict.fromkeys(answered, sum(USAGE.values()))
        assert is_balanced(self.database_url, charged)


@pytest.fixture
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FragilePostgres]:
    server = FragilePostgres(tmp_path_factory.mktemp("postgres") / "data")
    yield server
    server.end()


@pytest.fixture
def place(
    fragile: FragilePostgres,
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    tmp_path: Path,
) -> Place:
    upstream.default = completion(usage=USAGE)
    url = fragile.url.replace("postgresql://", "postgresql+psycopg2://")
    proxy = start_proxy(workers=2, env={"DATABASE_URL": url, "USER_CONCURRENCY": "0"})
    upgraded = run_solaris(proxy.environment, "db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    created = run_solaris(proxy.environment, "keys", "create", tmp_path.name)
    key = created.stdout.splitlines()[-1]
    return Place(fragile, Load(proxy.url, key), url)


@pytest.mark.timeout(180)
def test_strict_proxy_refuses_while_postgres_is_stopped_and_loses_no_answer(place: Place) -> None:
    async def run() -> tuple[float, float]:
        async with place.load.running():
            await place.load.served_again()
            await asyncio.sleep(1)
            stopped_at_s = time.monotonic()
            await asyncio.to_thread(place.postgres.stop_at_once)
            await asyncio.sleep(AWAY_S)
            back_at_s = time.monotonic()
            await asyncio.to_thread(place.postgres.start_again)
            await place.load.served_again()
            return stopped_at_s, back_at_s

    stopped_at_s, back_at_s = asyncio.run(run())

    meanwhile = place.load.between(stopped_at_s + IN_FLIGHT_S / 3, back_at_s)
    say("stopped", place.load.told, meanwhile)
    assert {it.status for it in meanwhile} == {503}
    assert all(it.retry_after for it in meanwhile)
    assert {it.status for it in place.load.told} == {200, 503}
    place.assert_books_say_what_was_answered()


@pytest.mark.timeout(180)
def test_strict_proxy_refuses_soon_while_postgres_is_silent(place: Place) -> None:
    async def run() -> tuple[float, float]:
        async with place.load.running():
            await place.load.served_again()
            await asyncio.sleep(1)
            frozen_at_s = time.monotonic()
            with place.postgres.frozen():
                await asyncio.sleep(AWAY_S + LONGEST_S)
                back_at_s = time.monotonic()
            await place.load.served_again()
            return frozen_at_s, back_at_s

    frozen_at_s, back_at_s = asyncio.run(run())

    meanwhile = place.load.between(frozen_at_s + IN_FLIGHT_S, back_at_s)
    say("frozen", place.load.told, meanwhile)
    assert {it.status for it in meanwhile} == {503}
    assert max(it.ended_at_s - it.began_at_s for it in place.load.told) <= LONGEST_S
    place.assert_books_say_what_was_answered()


@pytest.mark.timeout(180)
def test_restart_of_postgres_loses_nothing_that_was_answered(place: Place) -> None:
    async def run() -> None:
        async with place.load.running():
            for _ in range(3):
                await place.load.served_again()
                await asyncio.sleep(1)
                await asyncio.to_thread(place.postgres.stop_at_once)
                await asyncio.to_thread(place.postgres.start_again)
            await place.load.served_again()

    asyncio.run(run())

    say("restarted", place.load.told, [])
    assert {it.status for it in place.load.told} <= {200, 503}
    place.assert_books_say_what_was_answered()


def say(what: str, told: list[Told], meanwhile: list[Told]) -> None:
    longest_s = max(it.ended_at_s - it.began_at_s for it in told)
    counts = dict(Counter(it.status for it in told))
    away = dict(Counter(it.status for it in meanwhile))
    sys.stdout.write(f"\n{what}: in all {counts}, meanwhile {away}, longest {longest_s:.2f} s\n")
