"""Limits by the minute and at once, as callers of real gunicorn workers meet them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from sqlalchemy import create_engine, text

from app.config.messages import message_for
from app.config.settings import BudgetSettings, RedisSettings, Settings
from app.extensions import services_of
from tests.asgi_client import AsgiClient, Reply
from tests.fakes.litellm import FakeLiteLLM, completion, endless, sse, status
from tests.fakes.valkey import FragileValkey
from tests.ledger.windows import redis_at
from tests.servers import ProxyServer, run_solaris
from tests.waiting import wait_until

LIMIT = 4
OUTPUT_TOKENS = 20
BODY = orjson.dumps(
    {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Olá!"}],
        "max_tokens": OUTPUT_TOKENS,
    }
)
# Every byte of the body may be a token; and every one is used.
HELD_TOKENS = len(BODY) + OUTPUT_TOKENS
USAGE = {"prompt_tokens": len(BODY), "completion_tokens": OUTPUT_TOKENS}
CHAT = "/v1/chat/completions"

MakeKey = Callable[..., str]


@pytest.fixture(params=["redis", "postgres"])
def limited(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings with Redis, and without."""
    budgets = BudgetSettings(user_concurrency=LIMIT)
    if request.param == "postgres":
        return replace(settings, budgets=budgets)
    url: str = request.getfixturevalue("redis_url")
    asyncio.run(flush(url))
    return replace(settings, budgets=budgets, redis=RedisSettings(url))


@pytest.fixture
def start(
    tmp_path: Path,
    clean_database: str,  # so that it is emptied when the proxies have gone
) -> Iterator[Callable[[Settings], ProxyServer]]:
    """Start a proxy with two workers."""
    servers: list[ProxyServer] = []

    def start(settings: Settings) -> ProxyServer:
        servers.append(ProxyServer(settings, tmp_path, {}))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[FragileValkey]:
    valkey = FragileValkey(tmp_path / "valkey")
    yield valkey
    valkey.kill()


async def flush(url: str) -> None:
    async with redis_at(url) as redis:
        await redis.flushall()


class Gate:
    """An upstream that lets nobody go until it is opened."""

    def __init__(self) -> None:
        self._is_open = threading.Event()

    def open(self) -> None:
        self._is_open.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        while not self._is_open.is_set():  # noqa: ASYNC110  # it is opened from another thread
            await asyncio.sleep(0.01)
        return await completion(usage=USAGE)(request)


@dataclass(frozen=True)
class Said:
    status: int
    retry_after: str | None
    error: dict[str, Any] | None


class Caller:
    """Calls for one person, in a thread of their own: over all workers of the proxies."""

    def __init__(self, proxies: list[ProxyServer], key: str, person: str = "ana") -> None:
        self._urls = [proxy.url for proxy in proxies]
        self._headers = {"Authorization": f"Bearer {key}", "X-Solaris-User-Id": person}
        self.said: list[Said] = []

    def begin(self, calls: int) -> threading.Thread:
        thread = threading.Thread(target=lambda: asyncio.run(self._all(calls)), daemon=True)
        thread.start()
        return thread

    def run(self, calls: int) -> Counter[int]:
        self.begin(calls).join(60)
        return self.statuses

    @property
    def statuses(self) -> Counter[int]:
        return Counter(said.status for said in self.said)

    async def _all(self, calls: int) -> None:
        # Each on a connection of its own: they spread over the workers.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*[self._one(session, number) for number in range(calls)])

    async def _one(self, session: aiohttp.ClientSession, number: int) -> None:
        url = self._urls[number % len(self._urls)] + CHAT
        async with session.post(url, data=BODY, headers=self._headers) as answer:
            body = orjson.loads(await answer.read())
            said = Said(answer.status, answer.headers.get("Retry-After"), body.get("error"))
            self.said.append(said)


def set_budget(proxy: ProxyServer, metric: str, period: str, limit: int) -> None:
    place = ["--scope", "user", "--subject", "*", "--metric", metric, "--period", period]
    made = run_solaris(proxy.environment, "budgets", "set", *place, "--limit", str(limit))
    assert made.returncode == 0, made.stderr


# Calls at once


def test_person_at_four_gunicorn_workers_has_exactly_so_many_calls_at_once(
    start: Callable[[Settings], ProxyServer],
    limited: Settings,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
) -> None:
    gate = Gate()
    upstream.default = gate
    # The kernel spreads calls over two workers as it likes; over two proxies the test does.
    proxies = [start(limited), start(limited)]
    key = make_key(trusted=True)
    caller = Caller(proxies, key)

    calls = caller.begin(32)
    wait_until(lambda: len(caller.said) == 32 - LIMIT and upstream.open_streams == LIMIT)
    refused = caller.said[-1]
    gate.open()
    calls.join(20)

    assert caller.statuses == {429: 32 - LIMIT, 200: LIMIT}
    # A place is given back a moment after its answer.
    wait_until(lambda: Caller(proxies, key).run(LIMIT) == {200: LIMIT})
    assert refused.retry_after == "1"
    assert refused.error is not None
    assert refused.error["code"] == "rate_limit_exceeded"
    assert refused.error["message"] == message_for("too_many_calls", "pt_BR")


def test_key_without_a_person_may_have_any_number_of_calls_at_once(
    start: Callable[[Settings], ProxyServer],
    limited: Settings,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
) -> None:
    # A key that is not trusted cannot name anybody.
    caller = Caller([start(limited)], make_key())

    assert caller.run(4 * LIMIT) == {200: 4 * LIMIT}


def asgi(start_asgi: Callable[..., AsgiClient], settings: Settings, limit: int) -> AsgiClient:
    return start_asgi(settings=replace(settings, budgets=BudgetSettings(user_concurrency=limit)))


def headers(key: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {key}"), ("X-Solaris-User-Id", "ana")]


def ask(client: AsgiClient, key: str, body: bytes = BODY, path: str = CHAT) -> Reply:
    return client.call("POST", path, headers(key), body)


def test_call_that_falls_back_is_one_call(
    start_asgi: Callable[..., AsgiClient],
    limited: Settings,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
) -> None:
    client, key = asgi(start_asgi, limited, limit=1), make_key(trusted=True)
    upstream.for_model("gpt-4o", status(500, {"error": {"message": "no"}}))

    replies = [ask(client, key) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].header("x-solaris-model") != "gpt-4o"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (BODY, status(400, {"error": {"message": "no"}})),
        (BODY.replace(b"gpt-4o", b"nobody"), None),
        (BODY, status(500, {"error": {"message": "no"}})),
    ],
    ids=["refused upstream", "unknown model", "failed everywhere"],
)
def test_call_that_fails_leaves_its_place(
    start_asgi: Callable[..., AsgiClient],
    limited: Settings,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
    body: bytes,
    answer: Any,
) -> None:
    client, key = asgi(start_asgi, limited, limit=1), make_key(trusted=True)
    upstream.default = answer

    failed = ask(client, key, body)
    again = ask(client, key, body)

    assert failed.status == again.status >= 400
    assert failed.status != 429


def test_stream_has_its_place_until_its_reader_leaves(
    start_asgi: Callable[..., AsgiClient],
    limited: Settings,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
) -> None:
    client, key = asgi(start_asgi, limited, limit=1), make_key(trusted=True)
    upstream.default = endless(sse({"choices": [{"delta": {"content": "x"}}]}), pause_s=0.01)
    streamed = orjson.dumps({**orjson.loads(BODY), "stream": True})
    exchange, reading = client.begin("POST", CHAT, headers(key), streamed)
    client.run(exchange.wait_for_body(1))
    upstream.default = None

    meanwhile = ask(client, key)
    counted = ask(
        client,
        key,
        b'{"model": "claude-3-opus", "messages": [{"role": "user", "content": "x"}]}',
        "/v1/messages/count_tokens",
    )
    client.run(exchange.leave())
    reading.result(20)
    wait_until(lambda: ask(client, key).status == 200)

    # Counting tokens is free, and no call.
    assert (meanwhile.status, counted.status) == (429, 200)


# By the minute


def test_person_gets_what_the_minute_has_and_is_told_when_it_ends(
    start_asgi: Callable[..., AsgiClient],
    limited: Settings,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
) -> None:
    client, key = asgi(start_asgi, limited, limit=0), make_key(trusted=True)
    services_of(client.server.app).budgets.set(
        scope="user", subject="*", metric="requests", period="minute", limit=3, mode="enforce"
    )
    # All of them in one minute.
    wait_until(lambda: time.time() % 60 < 50, within_s=12)

    replies = [ask(client, key) for _ in range(5)]
    left_s = 60 - time.time() % 60

    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
    assert int(replies[-1].header("Retry-After") or 0) == pytest.approx(left_s, abs=2)


def test_minute_gets_back_what_a_durable_budget_refused(
    start_asgi: Callable[..., AsgiClient],
    redis_url: str,
    settings: Settings,
    make_key: MakeKey,
) -> None:
    asyncio.run(flush(redis_url))
    client = asgi(start_asgi, replace(settings, redis=RedisSettings(redis_url)), limit=0)
    budgets = services_of(client.server.app).budgets
    place: dict[str, Any] = {"scope": "user", "subject": "*", "metric": "tokens"}
    minute = budgets.set(**place, period="minute", limit=10 * HELD_TOKENS, mode="enforce")
    budgets.set(**place, period="month", limit=HELD_TOKENS - 1, mode="enforce")

    refused = ask(client, make_key(trusted=True))

    assert refused.status == 402
    wait_until(lambda: asyncio.run(taken(redis_url, minute.id)) == [0])


def test_minute_is_charged_what_a_call_really_took(
    start_asgi: Callable[..., AsgiClient],
    redis_url: str,
    settings: Settings,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
) -> None:
    asyncio.run(flush(redis_url))
    client = asgi(start_asgi, replace(settings, redis=RedisSettings(redis_url)), limit=0)
    minute = services_of(client.server.app).budgets.set(
        scope="user", subject="*", metric="tokens", period="minute", limit=1000, mode="enforce"
    )
    upstream.default = completion(usage={"prompt_tokens": 3, "completion_tokens": 4})

    answered = ask(client, make_key(trusted=True))

    assert answered.status == 200
    wait_until(lambda: asyncio.run(taken(redis_url, minute.id)) == [7])


async def taken(url: str, budget_id: int) -> list[int]:
    async with redis_at(url) as redis:
        keys = await redis.keys(f"solaris:window:{budget_id}:*")
        return [int(await redis.get(key) or 0) for key in keys]


# Redis in trouble

# So many calls that the trouble is over before they are.
ROOM, CLIENTS = 400, 8


def test_durable_budget_is_kept_exactly_while_redis_is_flushed_frozen_and_killed(
    start: Callable[[Settings], ProxyServer],
    fragile: FragileValkey,
    settings: Settings,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
) -> None:
    upstream.default = completion(usage=USAGE)
    budgets = BudgetSettings(user_concurrency=4 * CLIENTS)
    proxy = start(replace(settings, redis=RedisSettings(fragile.url), budgets=budgets))
    set_budget(proxy, "tokens", "month", ROOM * HELD_TOKENS + HELD_TOKENS - 1)
    set_budget(proxy, "requests", "minute", 100 * ROOM)
    time.sleep(2.5)

    trouble = threading.Thread(target=make_trouble, args=(fragile,))
    trouble.start()
    outcomes, slowest_s = asyncio.run(spend_all(proxy, make_key(trusted=True), trouble.is_alive))
    trouble.join()

    assert outcomes.keys() == {200, 402}
    assert outcomes[200] == ROOM == len(upstream.calls)
    wait_until(lambda: posted(settings) == (ROOM * HELD_TOKENS, 0))
    # 200 ms of Redis, and what eight callers at once cost on a busy machine.
    assert slowest_s < 2.0


def make_trouble(valkey: FragileValkey) -> None:
    def empty() -> None:
        asyncio.run(flush(valkey.url))

    for act in (
        empty,
        valkey.freeze,
        valkey.thaw,
        empty,
        valkey.kill,
        valkey.start_again,
    ):
        time.sleep(1.0)
        act()


async def spend_all(
    proxy: ProxyServer, key: str, is_in_trouble: Callable[[], bool]
) -> tuple[Counter[int], float]:
    outcomes: Counter[int] = Counter()
    slowest_s = 0.0
    person = {"Authorization": f"Bearer {key}", "X-Solaris-User-Id": "ana"}

    async def spend(session: aiohttp.ClientSession) -> None:
        nonlocal slowest_s
        status_code = 200
        while status_code == 200 or is_in_trouble():
            started_s = time.monotonic()
            async with session.post(proxy.url + CHAT, data=BODY, headers=person) as answer:
                await answer.read()
                status_code = answer.status
            slowest_s = max(slowest_s, time.monotonic() - started_s)
            outcomes[status_code] += 1
            await asyncio.sleep(0.1)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*[spend(session) for _ in range(CLIENTS)])
    return outcomes, slowest_s


def posted(settings: Settings) -> tuple[int, int]:
    engine = create_engine(settings.database.url)
    query = text(
        "SELECT sum(posted), sum(pending) FROM budget_lines JOIN budgets ON budgets.id = budget_id"
        " WHERE scope = 'user' AND period = 'month'"
    )
    try:
        with engine.connect() as connection:
            sums = connection.execute(query).one()
            return int(sums[0]), int(sums[1])
    finally:
        engine.dispose()
