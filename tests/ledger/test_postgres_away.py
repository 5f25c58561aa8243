"""Postgres stopped, frozen and started again under load: who is served, and what is posted.

`SOLARIS_AWAY_S=20` makes it stay away for as long as the issue asks; it is shorter in the suite.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import create_engine, text

from tests.fakes.litellm import FakeLiteLLM, completion
from tests.fakes.postgres import FragilePostgres
from tests.ledger.streams import charges, is_balanced
from tests.servers import ProxyServer, run_solaris
from tests.waiting import wait_until

KEY = "librechat"
AWAY_S = float(os.environ.get("SOLARIS_AWAY_S", "3"))
HOLD_LIFETIME_S = 6
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
    pause_s: float = PAUSE_S
    # Callers whose worker was killed.
    cut_off: int = 0
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

    @property
    def answered(self) -> set[str]:
        return {it.request_id for it in self.told if it.status == 200}

    def between(self, first_s: float, last_s: float) -> list[Told]:
        return [it for it in self.told if first_s < it.began_at_s and it.ended_at_s < last_s]

    async def _call_on(self, session: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.url}/v1/chat/completions"
        while not self._is_over:
            began_at_s = time.monotonic()
            try:
                async with session.post(url, json=BODY, headers=headers) as answer:
                    await answer.read()
            except aiohttp.ClientError:
                self.cut_off += 1
                continue
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
            await asyncio.sleep(self.pause_s)


@dataclass(frozen=True)
class Place:
    """A proxy of two workers on a Postgres of its own, and a load on it."""

    postgres: FragilePostgres
    proxy: ProxyServer
    load: Load
    database_url: str

    def assert_books_say_what_was_answered(self) -> None:
        """Every answer is posted once, nothing else is, and nothing is held any more."""
        posted = self.posted()
        assert posted == dict.fromkeys(self.load.answered, sum(USAGE.values()))

    def posted(self) -> dict[str, int]:
        """Return the tokens that were posted by request, when nothing is held any more."""
        wait_until(lambda: self.load.answered <= self.ended(), 20)
        # Leases are held as long as their workers live.
        self.proxy.stop()
        charged = charges(self.database_url, within_s=20)
        assert is_balanced(self.database_url, charged)
        return {request_id: it.tokens for request_id, it in charged.items() if it.tokens}

    def ended(self) -> set[str]:
        return set(self._requests("state <> 'pending'"))

    def forsaken(self) -> list[str]:
        return self._requests("state = 'pending' AND expires_at < now()")

    def _requests(self, condition: str) -> list[str]:
        engine = create_engine(self.database_url)
        try:
            with engine.connect() as connection:
                query = text(f"SELECT request_id FROM holds WHERE {condition}")
                return list(connection.execute(query).scalars())
        finally:
            engine.dispose()

    async def while_stopped(self, middle: Callable[[], None] = lambda: None) -> list[Told]:
        """Stop Postgres under load, start it again, and return what was told meanwhile."""
        async with self.load.running():
            await self.load.served_again()
            # Leases are taken within two seconds, and budgets bind within two.
            await asyncio.sleep(5)
            stopped_at_s = time.monotonic()
            await asyncio.to_thread(self.postgres.stop_at_once)
            await asyncio.sleep(AWAY_S / 2)
            await asyncio.to_thread(middle)
            await asyncio.sleep(AWAY_S / 2)
            back_at_s = time.monotonic()
            await asyncio.to_thread(self.postgres.start_again)
            await self.load.served_again()
        return self.load.between(stopped_at_s + IN_FLIGHT_S / 3, back_at_s)


@pytest.fixture
def fragile() -> Iterator[FragilePostgres]:
    # Not in pytest's folder: another run of it closes that to the user who is Postgres.
    with tempfile.TemporaryDirectory() as folder:
        server = FragilePostgres(Path(folder) / "data")
        yield server
        server.end()


@pytest.fixture
def start(
    fragile: FragilePostgres,
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
) -> Callable[..., Place]:
    """Start it: ``start("lenient")``."""
    upstream.default = completion(usage=USAGE)
    url = fragile.url.replace("postgresql://", "postgresql+psycopg2://")

    def started(mode: str) -> Place:
        variables = {
            "DATABASE_URL": url,
            "BUDGET_MODE": mode,
            "HOLD_LIFETIME": str(HOLD_LIFETIME_S),
            "USER_CONCURRENCY": "0",
        }
        proxy = start_proxy(workers=2, env=variables)
        upgraded = run_solaris(proxy.environment, "db", "upgrade")
        assert upgraded.returncode == 0, upgraded.stderr
        created = run_solaris(proxy.environment, "keys", "create", KEY)
        return Place(fragile, proxy, Load(proxy.url, created.stdout.splitlines()[-1]), url)

    return started


@pytest.fixture
def place(start: Callable[..., Place]) -> Place:
    return start("strict")


@pytest.mark.timeout(180)
def test_strict_proxy_refuses_while_postgres_is_stopped_and_loses_no_answer(place: Place) -> None:
    meanwhile = asyncio.run(place.while_stopped())

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


@pytest.mark.timeout(180)
def test_lenient_proxy_serves_from_its_leases_while_postgres_is_stopped(
    start: Callable[..., Place],
) -> None:
    place = start("lenient")

    meanwhile = asyncio.run(place.while_stopped())

    say("lenient", place.load.told, meanwhile)
    assert {it.status for it in meanwhile} == {200}
    place.assert_books_say_what_was_answered()


@pytest.mark.timeout(180)
def test_lenient_proxy_refuses_when_its_leases_are_spent(start: Callable[..., Place]) -> None:
    place = start("lenient")
    # Some 80 calls a second, so that its leases last for two or three.
    place.load.pause_s = 0.2
    limit = 2000
    budget = ["--scope", "key", "--subject", KEY, "--metric", "requests", "--period", "month"]
    run_solaris(place.proxy.environment, "budgets", "set", *budget, "--limit", str(limit))

    meanwhile = asyncio.run(place.while_stopped())

    say("lenient, small budget", place.load.told, meanwhile)
    # A twentieth for each of the two workers.
    assert 0 < sum(it.status == 200 for it in meanwhile) <= limit / 20 * 2
    assert {it.status for it in meanwhile} == {200, 503}
    assert all(it.retry_after for it in meanwhile if it.status == 503)
    assert sum(it.status == 200 for it in place.load.told) <= limit
    place.assert_books_say_what_was_answered()


@pytest.mark.timeout(180)
def test_what_a_worker_granted_from_leases_before_it_was_killed_is_posted(
    start: Callable[..., Place],
) -> None:
    place = start("lenient")

    meanwhile = asyncio.run(place.while_stopped(place.proxy.workers[0].kill))

    say("lenient, one killed", place.load.told, meanwhile)
    # What it held through Postgres is swept; its journal is taken over by the other one.
    time.sleep(HOLD_LIFETIME_S)
    wait_until(lambda: not place.forsaken(), HOLD_LIFETIME_S)
    posted = place.posted()
    # And the calls that it had granted and not answered.
    assert place.load.answered <= posted.keys()
    assert len(posted.keys() - place.load.answered) <= CLIENTS


def say(what: str, told: list[Told], meanwhile: list[Told]) -> None:
    longest_s = max(it.ended_at_s - it.began_at_s for it in told)
    counts = dict(Counter(it.status for it in told))
    away = dict(Counter(it.status for it in meanwhile))
    sys.stdout.write(f"\n{what}: in all {counts}, meanwhile {away}, longest {longest_s:.2f} s\n")
