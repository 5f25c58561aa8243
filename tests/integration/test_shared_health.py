"""Workers that tell each other of the models' health, through a real Valkey: two of them on one
loop, each with its own connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from app.config.catalog import HealthPolicy
from app.embedded.network import free_port
from app.services.health_service import (
    LITELLM,
    HealthService,
    ModelStatus,
    Permit,
    Refusal,
)
from app.services.redis_link import PATIENCE_S, REST_S, RedisLink
from app.services.shared_health import (
    OUTCOMES,
    PREFIX,
    SYNC_S,
    VERDICTS,
    WORKER_LIFETIME_S,
    SharedHealth,
)
from app.utils.clock import SystemClock
from tests.fakes.clock import FakeClock
from tests.fakes.valkey import FragileValkey

MODELS = ("first", "gpt-4", "last")
MODEL = "gpt-4"
POLICY = HealthPolicy(check_interval_s=60, unhealthy_threshold=3, cooldown_s=10)
# What one worker learns, the other knows after one or two exchanges; a busy machine gets more.
HEARD_WITHIN_S = 2 * SYNC_S + 2.0
# After Redis was away there is a rest before.
BACK_WITHIN_S = REST_S + HEARD_WITHIN_S
# One try to reach Redis, and what a busy machine adds.
AT_ONCE_S = PATIENCE_S + 1.8


class Worker:
    """One process's health, which it shares. Time stands still for it, but not for its Redis."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self.clock = clock
        self.link = RedisLink(url, SystemClock())
        self.board = SharedHealth(self.link, MODELS, clock)
        self.health = HealthService(POLICY, clock, self.board)

    def fail(self, times: int = POLICY.unhealthy_threshold, model: str = MODEL) -> None:
        for _ in range(times):
            self.health.record_failure(model, "upstream_error")

    async def admit(self, model: str = MODEL) -> Permit | Refusal:
        return await self.health.admit(model)

    async def trial(self, model: str = MODEL) -> Permit:
        admitted = await self.admit(model)
        assert isinstance(admitted, Permit)
        return admitted

    def is_open(self, model: str = MODEL) -> bool:
        return self.health.of(model).since is not None

    def failures_of_others(self, model: str = MODEL) -> int:
        return self.board.others(model).failures


Story = Callable[[Worker, Worker], Awaitable[None]]


@asynccontextmanager
async def workers(url: str, clock: FakeClock | None = None) -> AsyncIterator[list[Worker]]:
    clock = clock or FakeClock()
    async with AsyncExitStack() as opened:
        started = [Worker(url, clock) for _ in range(2)]
        for worker in started:
            await worker.board.open(worker.health)
            opened.push_async_callback(worker.link.close)
            opened.push_async_callback(worker.board.close)
        yield started


def two(url: str, story: Story) -> None:
    """Run a story of two workers."""

    async def run() -> None:
        async with workers(url) as (one, other):
            await story(one, other)

    asyncio.run(run())


async def until(holds: Callable[[], object], within_s: float = HEARD_WITHIN_S) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # workers set no event
            await asyncio.sleep(0.01)


async def hears(
    listener: Worker, outcomes: int, model: str = MODEL, within_s: float = HEARD_WITHIN_S
) -> None:
    """Wait until it knows of so many outcomes of others; failures are told with them."""
    await until(lambda: listener.board.others(model).requests == outcomes, within_s)


async def meet(one: Worker, other: Worker) -> None:
    """Wait until each has heard of the other."""
    for worker in (one, other):
        worker.health.record_success("last", 1)
    await hears(one, 1, "last")
    await hears(other, 1, "last")


async def gets_in(worker: Worker) -> None:
    async with asyncio.timeout(HEARD_WITHIN_S):
        while not isinstance(await worker.admit(), Permit):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)


@asynccontextmanager
async def redis_at(url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(url, decode_responses=True)
    try:
        yield redis
    finally:
        await redis.aclose()


@pytest.fixture
def url(redis_url: str) -> str:
    async def empty() -> None:
        async with redis_at(redis_url) as redis:
            await redis.flushall()

    asyncio.run(empty())
    return redis_url


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[FragileValkey]:
    valkey = FragileValkey(tmp_path / "valkey")
    yield valkey
    valkey.kill()


# What one learns, the other knows


def test_model_that_one_worker_shuts_out_is_refused_by_the_other_too(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)

        known = other.health.of(MODEL)
        assert await other.admit() == Refusal("breaker_open")
        assert (known.status, known.reason) == (ModelStatus.UNHEALTHY, "upstream_error")
        assert known.since == one.health.of(MODEL).since

    two(url, story)


def test_failures_of_two_workers_together_reach_the_threshold(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail(times=1)
        other.fail(times=2)
        await until(lambda: one.is_open() and other.is_open())

        assert await one.admit() == await other.admit() == Refusal("breaker_open")

    two(url, story)


def test_success_of_one_worker_begins_the_count_of_both_anew(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail(times=2)
        await hears(other, 2)
        other.health.record_success(MODEL, 1)
        await hears(one, 1)
        other.fail(times=2)
        await hears(one, 3)

        assert not one.is_open()
        assert not other.is_open()

    two(url, story)


def test_success_and_failure_that_are_told_together_count_as_one_failure(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail(times=2)
        await hears(other, 2)
        other.health.record_success(MODEL, 1)
        other.fail(times=1)
        await hears(one, 2)

        assert not one.is_open()
        assert not other.is_open()

    two(url, story)


def test_litellm_that_one_worker_cannot_reach_is_shut_out_by_the_other_too(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail(model=LITELLM)
        await until(lambda: other.is_open(LITELLM))

        assert await other.admit(LITELLM) == Refusal("breaker_open")

    two(url, story)


def test_rate_limit_that_one_worker_hears_of_holds_for_the_other_too(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.health.record_rate_limit(MODEL, 30.0)
        await until(lambda: other.health.of(MODEL).status is ModelStatus.RATE_LIMITED)

        refused = await other.admit()
        assert isinstance(refused, Refusal)
        assert refused.left_s == pytest.approx(30.0)

    two(url, story)


def test_success_of_the_trial_lets_everyone_in_at_both(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)
        one.clock.advance(POLICY.cooldown_s)
        (await other.trial()).succeeded()
        await until(lambda: not one.is_open())

        for worker in (one, other, one, other):
            assert isinstance(await worker.admit(), Permit)

    two(url, story)


def test_failure_of_the_trial_begins_another_cooldown_at_both(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)
        one.clock.advance(POLICY.cooldown_s)
        (await other.trial()).failed("upstream_error")
        await until(lambda: one.health.of(MODEL).since == other.health.of(MODEL).since)

        assert await one.admit() == await other.admit() == Refusal("breaker_open")

    two(url, story)


def test_forgetting_at_one_worker_lets_everyone_in_at_both(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)
        one.clock.advance(1)
        other.health.forget()
        await until(lambda: not one.is_open())

        assert isinstance(await one.admit(), Permit)
        assert isinstance(await other.admit(), Permit)

    two(url, story)


def test_worker_that_starts_later_knows_what_the_others_know(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)
        async with workers(url, clock=one.clock) as (late, _):
            await until(late.is_open)

    two(url, story)


def test_outcomes_of_both_workers_are_added_up(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.health.record_success(MODEL, 100)
        other.health.record_success(MODEL, 300)
        one.fail(times=1)
        await until(lambda: other.health.of(MODEL).outcomes.requests == 3)
        await until(lambda: one.health.of(MODEL).outcomes.requests == 3)

        assert one.health.of(MODEL).outcomes == other.health.of(MODEL).outcomes
        assert one.health.of(MODEL).outcomes.mean_latency_ms == 200

    two(url, story)


def test_worker_that_has_gone_is_counted_no_more(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        other.fail(times=1)
        await until(lambda: one.failures_of_others() == 1)
        await other.board.close()
        one.clock.advance(WORKER_LIFETIME_S + 1)
        await until(lambda: one.failures_of_others() == 0)

        async with redis_at(url) as redis:
            assert len(await redis.hgetall(OUTCOMES)) == 1

    two(url, story)


# One trial


def test_trial_is_one_workers_and_one_calls(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)
        one.clock.advance(POLICY.cooldown_s)

        calls = [worker.admit() for worker in (one, other) for _ in range(5)]
        admitted = await asyncio.gather(*calls)

        assert sum(isinstance(it, Permit) for it in admitted) == 1

    two(url, story)


def test_trial_without_a_verdict_is_left_to_the_other_worker(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)
        one.clock.advance(POLICY.cooldown_s)
        trial = await one.trial()
        refused = await other.admit()
        trial.release()
        await gets_in(other)

        assert refused == Refusal("breaker_open")

    two(url, story)


def test_trial_of_each_model_is_its_own(url: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        one.fail(model="last")
        await until(lambda: other.is_open() and other.is_open("last"))
        one.clock.advance(POLICY.cooldown_s)
        await one.trial(MODEL)

        assert isinstance(await other.admit("last"), Permit)

    two(url, story)


# Redis away


class Outage:
    """A Redis that is away in one of several ways, and comes back."""

    def __init__(self, valkey: FragileValkey, way: str) -> None:
        self.begin = valkey.freeze if way == "frozen" else valkey.kill
        self.end = valkey.thaw if way == "frozen" else valkey.start_again


@pytest.fixture(params=["frozen", "killed"])
def outage(fragile: FragileValkey, request: pytest.FixtureRequest) -> Iterator[Outage]:
    yield Outage(fragile, request.param)
    if request.param == "frozen":
        fragile.thaw()


async def timed(awaited: Awaitable[Any]) -> tuple[Any, float]:
    started_s = time.monotonic()
    return await asyncio.wait_for(awaited, 30), time.monotonic() - started_s


def test_redis_away_leaves_each_worker_to_judge_for_itself(
    fragile: FragileValkey, outage: Outage
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await meet(one, other)
        outage.begin()
        one.fail()

        assert await one.admit() == Refusal("breaker_open")
        assert isinstance(await other.admit(), Permit)

    two(fragile.url, story)


def test_redis_away_lets_a_trial_in_without_long_waiting(
    fragile: FragileValkey, outage: Outage
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)
        one.clock.advance(POLICY.cooldown_s)
        outage.begin()

        admitted, took_s = await timed(one.admit())
        again, _ = await timed(one.admit())

        assert isinstance(admitted, Permit)
        assert again == Refusal("breaker_open")
        assert took_s < AT_ONCE_S

    two(fragile.url, story)


def test_redis_away_costs_its_patience_once_and_not_every_time(
    fragile: FragileValkey, outage: Outage
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        # So many that their patiences would add up to twice as long.
        many = [f"model-{n}" for n in range(int(2 * AT_ONCE_S / PATIENCE_S))]
        for model in many:
            one.fail(model=model)
        one.clock.advance(POLICY.cooldown_s)
        outage.begin()

        async def try_all() -> list[bool]:
            return [isinstance(await one.admit(model), Permit) for model in many]

        admitted, took_s = await timed(try_all())

        assert all(admitted)
        assert took_s < AT_ONCE_S

    two(fragile.url, story)


def test_redis_back_is_told_what_was_learned_meanwhile(
    fragile: FragileValkey, outage: Outage
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await meet(one, other)
        outage.begin()
        one.fail()
        await asyncio.sleep(PATIENCE_S + REST_S)
        has_heard = other.is_open()
        outage.end()
        await until(other.is_open, BACK_WITHIN_S)

        assert not has_heard
        assert await other.admit() == Refusal("breaker_open")

    two(fragile.url, story)


def test_redis_back_lets_one_worker_have_the_trial_again(
    fragile: FragileValkey, outage: Outage
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        await until(other.is_open)
        outage.begin()
        await asyncio.sleep(PATIENCE_S + REST_S)
        outage.end()
        one.clock.advance(1)
        one.health.record_success("first", 1)
        await until(lambda: other.health.of("first").outcomes.requests == 1, BACK_WITHIN_S)
        one.clock.advance(POLICY.cooldown_s)

        admitted = await asyncio.gather(one.admit(), other.admit())

        assert sum(isinstance(it, Permit) for it in admitted) == 1

    two(fragile.url, story)


def test_failures_learned_while_others_could_not_be_told_are_all_told(
    fragile: FragileValkey,
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await meet(one, other)
        fragile.freeze()
        one.fail(times=1)
        await asyncio.sleep(PATIENCE_S / 4)
        one.fail(times=1)
        await asyncio.sleep(PATIENCE_S)
        fragile.kill()
        fragile.start_again()
        await hears(other, 2, within_s=BACK_WITHIN_S)
        other.fail(times=1)

        await until(other.is_open)

    two(fragile.url, story)


def test_failure_while_redis_is_frozen_is_told_once(fragile: FragileValkey) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await meet(one, other)
        fragile.freeze()
        one.fail(times=1)
        await asyncio.sleep(3 * (PATIENCE_S + REST_S))
        fragile.thaw()
        await hears(other, 1, within_s=BACK_WITHIN_S)
        await asyncio.sleep(SYNC_S)

        assert not one.is_open()
        assert not other.is_open()

    two(fragile.url, story)


def test_success_while_failures_are_being_told_is_not_forgotten(fragile: FragileValkey) -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail(times=2)
        await hears(other, 2)
        # It would rightly act on the third failure, should it read the count before the success.
        await one.board.close()
        fragile.freeze()
        # It has sent this one, and waits for the answer.
        other.fail(times=1)
        await asyncio.sleep(PATIENCE_S / 4)
        other.health.record_success(MODEL, 1)
        fragile.thaw()
        await asyncio.sleep(PATIENCE_S)

        assert not other.is_open()

    two(fragile.url, story)


def test_redis_that_was_never_there_changes_nothing() -> None:
    async def story(one: Worker, other: Worker) -> None:
        one.fail()
        one.clock.advance(POLICY.cooldown_s)
        admitted, took_s = await timed(one.admit())
        admitted.succeeded()

        assert took_s < AT_ONCE_S
        assert isinstance(await one.admit(), Permit)
        assert isinstance(await other.admit(), Permit)

    two(f"redis://127.0.0.1:{free_port()}/0", story)


def test_worker_stops_at_once_while_redis_is_away(fragile: FragileValkey, outage: Outage) -> None:
    async def stop() -> float:
        async with workers(fragile.url) as (one, other):
            await meet(one, other)
            outage.begin()
            one.fail()
            await asyncio.sleep(0.05)
            started_s = time.monotonic()
        return time.monotonic() - started_s

    assert asyncio.run(asyncio.wait_for(stop(), 30)) < 2 * AT_ONCE_S


# Junk in Redis

JUNK_VERDICTS = [
    b"not json",
    b"\xff\xfe",
    b"null",
    # Of another version of this program.
    b"[1, 2, 3, 4, 5]",
    b'["x", "x", "x", 9e12]',
]
JUNK_OUTCOMES = [
    b"not json",
    b"\xff\xfe",
    b"{}",
    orjson.dumps({"at_s": FakeClock().now().timestamp(), "models": {MODEL: "x"}}),
    orjson.dumps({"at_s": FakeClock().now().timestamp(), "models": [MODEL]}),
]


async def write(url: str, key: str, value: bytes, field: str | None = None) -> None:
    async with redis_at(url) as redis:
        if field is None:
            await redis.set(key, value)
        else:
            await redis.hset(key, field, value)


async def remove(url: str, key: str) -> None:
    async with redis_at(url) as redis:
        await redis.delete(key)


@pytest.mark.parametrize("junk", JUNK_VERDICTS)
def test_junk_in_place_of_a_models_verdict_keeps_nothing_of_the_others_back(
    url: str, junk: bytes
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await write(url, VERDICTS, junk, field="first")
        one.fail()
        await until(other.is_open)

        assert await other.admit() == Refusal("breaker_open")

    two(url, story)


@pytest.mark.parametrize("junk", JUNK_VERDICTS)
def test_junk_in_place_of_a_models_verdict_lets_calls_to_it_pass(url: str, junk: bytes) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await meet(one, other)
        await write(url, VERDICTS, junk, field=MODEL)
        await asyncio.sleep(SYNC_S + 0.2)

        assert isinstance(await other.admit(), Permit)
        assert other.health.of(MODEL).status is ModelStatus.UNAVAILABLE

    two(url, story)


@pytest.mark.parametrize("junk", JUNK_OUTCOMES)
def test_junk_in_place_of_a_workers_outcomes_keeps_nothing_of_the_others_back(
    url: str, junk: bytes
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await write(url, OUTCOMES, junk, field="0000")
        one.fail()
        await until(other.is_open)
        await until(lambda: other.failures_of_others() == POLICY.unhealthy_threshold)

    two(url, story)


@pytest.mark.parametrize("junk", [b"not a number", b"\xff\xfe", b"1.5"])
def test_junk_in_place_of_a_models_failures_keeps_nothing_of_the_others_back(
    url: str, junk: bytes
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await write(url, f"{PREFIX}failures:first", junk)
        one.fail()
        await until(other.is_open)

    two(url, story)


@pytest.mark.parametrize("key", [VERDICTS, OUTCOMES, f"{PREFIX}trial:{MODEL}"])
def test_junk_of_another_kind_under_a_key_leaves_each_worker_to_judge_for_itself(
    url: str, key: str
) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await write(url, key, b"junk")
        one.fail()
        refused = await one.admit()
        one.health.record_success(MODEL, 1)

        assert refused == Refusal("breaker_open")
        assert isinstance(await one.admit(), Permit)

    two(url, story)


@pytest.mark.parametrize("key", [VERDICTS, OUTCOMES])
def test_junk_of_another_kind_that_is_removed_is_got_over(url: str, key: str) -> None:
    async def story(one: Worker, other: Worker) -> None:
        await write(url, key, b"junk")
        one.fail()
        await asyncio.sleep(PATIENCE_S)
        await remove(url, key)
        await until(other.is_open, BACK_WITHIN_S)

    two(url, story)
