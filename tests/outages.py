"""A proxy under load while its Postgres is stopped, frozen and started again.

`SOLARIS_AWAY_S=20` makes it stay away for longer; it is short in the suite.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from sqlalchemy import create_engine, text

from tests.fakes.postgres import FragilePostgres
from tests.ledger.streams import charges, is_balanced
from tests.servers import ProxyServer
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
            await asyncio.sleep(max(5.0, AWAY_S))
            stopped_at_s = time.monotonic()
            await asyncio.to_thread(self.postgres.stop_at_once)
            await asyncio.sleep(AWAY_S / 2)
            await asyncio.to_thread(middle)
            await asyncio.sleep(AWAY_S / 2)
            back_at_s = time.monotonic()
            await asyncio.to_thread(self.postgres.start_again)
            await self.load.served_again()
            await asyncio.sleep(AWAY_S)
        return self.load.between(stopped_at_s + IN_FLIGHT_S / 3, back_at_s)


StartPlace = Callable[..., Place]
