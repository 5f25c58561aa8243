"""Two workers and a real Valkey: what one learns, the other knows."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from redis import Redis

from app.config.catalog import HealthPolicy
from app.embedded.engines import EmbeddedValkey
from app.services.health_service import HealthService, ModelStatus, Permit, Refusal
from app.services.redis_link import RedisLink
from app.services.shared_health import OUTCOMES, PREFIX, VERDICTS, SharedHealth
from app.utils.clock import SystemClock

MODEL = "gpt-4"
POLICY = HealthPolicy(check_interval_s=60, unhealthy_threshold=3, cooldown_s=0.5)
# What is promised takes a second or two; a busy machine gets more.
PATIENCE_S = 8.0

Workers = tuple[HealthService, HealthService]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def empty(valkey: EmbeddedValkey) -> None:
    Redis.from_url(valkey.url).flushall()


@asynccontextmanager
async def two_workers(url: str) -> AsyncIterator[Workers]:
    clock = SystemClock()
    boards = [SharedHealth(RedisLink(url, clock), [MODEL], clock) for _ in range(2)]
    first, second = (HealthService(POLICY, clock, board) for board in boards)
    for board, health in zip(boards, (first, second), strict=True):
        await board.open(health)
    try:
        yield first, second
    finally:
        for board in boards:
            await board.close()


def run(valkey: EmbeddedValkey, scene: Callable[[Workers], Awaitable[None]]) -> None:
    async def play() -> None:
        async with two_workers(valkey.url) as workers:
            await scene(workers)

    asyncio.run(play())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # the other worker sets no event here
            await asyncio.sleep(0.05)


def is_ill(health: HealthService) -> bool:
    return health.of(MODEL).status is ModelStatus.UNHEALTHY


def fail(health: HealthService, times: int = POLICY.unhealthy_threshold) -> None:
    for _ in range(times):
        health.record_failure(MODEL, "upstream_error")


def test_breaker_that_one_worker_opens_is_open_for_the_other(valkey: EmbeddedValkey) -> None:
    async def scene(workers: Workers) -> None:
        first, second = workers
        fail(first)
        await until(lambda: is_ill(second))
        assert second.of(MODEL).reason == "upstream_error"

    run(valkey, scene)


def test_failures_of_both_workers_reach_the_threshold_together(valkey: EmbeddedValkey) -> None:
    async def scene(workers: Workers) -> None:
        first, second = workers
        fail(first, times=2)
        fail(second, times=1)
        await until(lambda: is_ill(first) and is_ill(second))

    run(valkey, scene)


def test_success_of_one_worker_takes_back_what_the_other_has_counted(
    valkey: EmbeddedValkey,
) -> None:
    async def scene(workers: Workers) -> None:
        first, second = workers
        fail(first, times=2)
        await asyncio.sleep(1.5)
        second.record_alive(MODEL)
        await asyncio.sleep(1.5)
        fail(second, times=2)
        await asyncio.sleep(1.5)
        assert not is_ill(second)

    run(valkey, scene)


def test_trial_is_one_workers_only(valkey: EmbeddedValkey) -> None:
    async def scene(workers: Workers) -> None:
        first, second = workers
        fail(first)
        await until(lambda: is_ill(second))
        await asyncio.sleep(POLICY.cooldown_s)
        admitted = [await health.admit(MODEL) for health in (first, second)]
        assert [type(it) for it in admitted] == [Permit, Refusal]

    run(valkey, scene)


def test_trial_that_succeeds_opens_the_way_for_both(valkey: EmbeddedValkey) -> None:
    async def scene(workers: Workers) -> None:
        first, second = workers
        fail(first)
        await until(lambda: is_ill(second))
        await asyncio.sleep(POLICY.cooldown_s)
        trial = await second.admit(MODEL)
        assert isinstance(trial, Permit)
        trial.succeeded()
        await until(lambda: not is_ill(first))

    run(valkey, scene)


def test_rate_limit_holds_for_both(valkey: EmbeddedValkey) -> None:
    async def scene(workers: Workers) -> None:
        first, second = workers
        first.record_rate_limit(MODEL, 30.0)
        await until(lambda: second.of(MODEL).status is ModelStatus.RATE_LIMITED)

    run(valkey, scene)


def test_outcomes_are_those_of_both(valkey: EmbeddedValkey) -> None:
    async def scene(workers: Workers) -> None:
        first, second = workers
        first.record_success(MODEL, 100)
        second.record_success(MODEL, 300)
        await until(lambda: first.of(MODEL).outcomes.requests == 2)
        assert first.of(MODEL).outcomes.mean_latency_ms == 200

    run(valkey, scene)


@pytest.mark.parametrize("key", [VERDICTS, OUTCOMES, f"{PREFIX}failures:{MODEL}"])
def test_junk_in_redis_does_not_end_the_exchange(valkey: EmbeddedValkey, key: str) -> None:
    client = Redis.from_url(valkey.url)

    async def scene(workers: Workers) -> None:
        first, second = workers
        client.set(key, "junk")
        await asyncio.sleep(1.5)
        client.delete(key)
        fail(first)
        await until(lambda: is_ill(second))

    run(valkey, scene)


def test_redis_that_is_frozen_costs_a_moment_and_then_nothing(valkey: EmbeddedValkey) -> None:
    info = Redis.from_url(valkey.url).info("server")
    process = psutil.Process(info["process_id"])

    async def scene(workers: Workers) -> None:
        first, second = workers
        process.send_signal(signal.SIGSTOP)
        try:
            fail(first)
            await asyncio.sleep(POLICY.cooldown_s)
            async with asyncio.timeout(PATIENCE_S):
                admitted = [await first.admit(MODEL) for _ in range(3)]
        finally:
            process.send_signal(signal.SIGCONT)
        assert [type(it) for it in admitted] == [Permit, Refusal, Refusal]
        await until(lambda: is_ill(second))

    run(valkey, scene)


def test_redis_that_never_was_leaves_each_worker_to_itself(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_workers(f"unix://{tmp_path}/nowhere.sock") as (first, second):
            fail(first)
            await asyncio.sleep(1.5)
            assert (is_ill(first), is_ill(second)) == (True, False)

    asyncio.run(play())
