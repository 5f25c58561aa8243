"""Budgets by the minute in a real Valkey, shared by two workers on one loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import RedisError

from app.embedded.network import free_port
from app.ledger.book import Demand, Granted, Refused, Reserve, Spend
from app.ledger.rules import Account
from app.ledger.windows import OwnWindows
from app.services.redis_link import PATIENCE_S, REST_S, RedisLink
from app.services.short_windows import CLOCKS_DIFFER_S, PREFIX, ShortWindows, Taken
from tests.fakes.clock import FakeClock
from tests.fakes.valkey import FragileValkey
from tests.ledger.windows import (
    DEMAND,
    MINUTE,
    NOW,
    links,
    minute_budget,
    redis_at,
    wish,
    workers,
)

T = TypeVar("T")
Story = Callable[[ShortWindows, ShortWindows], Awaitable[T]]
FLEXIBLE = Demand(10, 4096, 1, input_price=0, output_price=0, is_flexible=True)
# What a busy machine adds to a try of 200 ms, and what a call may take that waits for nothing.
AT_ONCE_S = PATIENCE_S + 1.8
NO_WAIT_S = PATIENCE_S / 2


@pytest.fixture
def url(redis_url: str) -> str:
    asyncio.run(flush(redis_url))
    return redis_url


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[FragileValkey]:
    valkey = FragileValkey(tmp_path / "valkey")
    yield valkey
    valkey.kill()


async def flush(url: str) -> None:
    async with redis_at(url) as redis:
        await redis.flushall()


def two(url: str, story: Story[T], clock: FakeClock | None = None) -> T:
    """Run a story of two workers."""

    async def run() -> T:
        async with workers(url, clock) as (one, other):
            return await story(one, other)

    return asyncio.run(run())


async def take(
    windows: ShortWindows, *accounts: Account, hold_id: str = "a", demand: Demand = DEMAND
) -> Taken | Refused:
    return await windows.take(wish(hold_id, accounts, demand))


async def used(url: str) -> dict[str, int]:
    """Return what is taken, by budget's number."""
    async with redis_at(url) as redis:
        keys = [str(key) for key in await redis.keys(f"{PREFIX}*")]
        return {key.split(":")[2]: int(await redis.get(key) or -1) for key in keys}


async def until(holds: Callable[[], Awaitable[bool]], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110  # nothing sets an event
            await asyncio.sleep(0.02)


# What is taken


@pytest.mark.parametrize(("metric", "needed"), [("requests", 1), ("tokens", 100), ("cost", 100)])
def test_window_lets_two_workers_racing_have_exactly_what_there_is(
    url: str, metric: str, needed: int
) -> None:
    it = minute_budget(11 * needed - 1 if needed > 1 else 10, metric)

    async def story(one: ShortWindows, other: ShortWindows) -> list[Taken | Refused]:
        calls = [take((one, other)[n % 2], it, hold_id=str(n)) for n in range(64)]
        return await asyncio.gather(*calls)

    outcomes = two(url, story)

    assert sum(isinstance(outcome, Taken) for outcome in outcomes) == 10
    assert asyncio.run(used(url)) == {"1": 10 * needed}


def test_windows_of_a_call_are_all_taken_or_none(url: str) -> None:
    roomy, tight = minute_budget(1000), minute_budget(50, "tokens", budget_id=2)

    async def story(one: ShortWindows, _: ShortWindows) -> Taken | Refused:
        return await take(one, roomy, tight)

    assert two(url, story) == Refused(tight, 50, 100)
    assert asyncio.run(used(url)) == {}


def test_shadow_window_refuses_nobody_and_says_who_would_have_been(url: str) -> None:
    shadow, roomy = minute_budget(50, "tokens", "shadow"), minute_budget(10, budget_id=2)

    async def story(one: ShortWindows, _: ShortWindows) -> Taken | Refused:
        return await take(one, shadow, roomy)

    taken = two(url, story)

    assert isinstance(taken, Taken)
    assert taken.would_refuse == (shadow,)
    assert asyncio.run(used(url)) == {"1": 100, "2": 1}


@pytest.mark.parametrize(("limit", "granted"), [(1000, 990), (60, 50), (26, 16), (25, None)])
def test_call_without_a_limit_is_cut_to_what_its_window_has_left(
    url: str, limit: int, granted: int | None
) -> None:
    it = minute_budget(limit, "tokens")

    async def story(one: ShortWindows, _: ShortWindows) -> Taken | Refused:
        return await take(one, it, demand=FLEXIBLE)

    assert getattr(two(url, story), "output_tokens", None) == granted


@pytest.mark.parametrize(("real", "left_in_use"), [(30, 30), (100, 100), (150, 150), (0, 0)])
def test_settlement_puts_what_was_really_used_in_the_place_of_what_was_held(
    url: str, real: int, left_in_use: int
) -> None:
    async def story(one: ShortWindows, other: ShortWindows) -> None:
        taken = await take(one, minute_budget(1000, "tokens"))
        assert isinstance(taken, Taken)
        await one.settle(taken, Spend(real, 0))

    two(url, story)

    assert asyncio.run(used(url)) == {"1": left_in_use}


def test_what_is_given_back_can_be_taken_again(url: str) -> None:
    it = minute_budget(1)

    async def story(one: ShortWindows, other: ShortWindows) -> list[Taken | Refused]:
        taken = await take(one, it)
        refused = await take(other, it, hold_id="b")
        assert isinstance(taken, Taken)
        await one.give_back(taken)
        return [refused, await take(other, it, hold_id="c")]

    refused, again = two(url, story)

    assert isinstance(refused, Refused)
    assert isinstance(again, Taken)


def test_settlement_after_the_window_was_lost_owes_nothing_to_the_next(url: str) -> None:
    it = minute_budget(1000, "tokens")

    async def story(one: ShortWindows, other: ShortWindows) -> None:
        taken = await take(one, it)
        assert isinstance(taken, Taken)
        await flush(url)
        await one.settle(taken, Spend(30, 0))
        lost = await used(url)
        await take(other, it, hold_id="b")
        await one.give_back(taken)
        await one.give_back(taken)
        assert (lost, await used(url)) == ({}, {"1": 0})

    two(url, story)


def test_windows_go_when_they_are_over(url: str) -> None:
    clock = FakeClock()
    clock.advance(45)

    async def story(one: ShortWindows, _: ShortWindows) -> list[int]:
        taken = await take(one, minute_budget(1000, "tokens"))
        async with redis_at(url) as redis:
            (key,) = await redis.keys(f"{PREFIX}*")
            before = await redis.pttl(key)
            assert isinstance(taken, Taken)
            await one.settle(taken, Spend(30, 0))
            return [before, await redis.pttl(key)]

    lives_ms = two(url, story, clock)

    assert all(0 < life_ms <= (15 + CLOCKS_DIFFER_S) * 1000 for life_ms in lives_ms)


PEOPLE_DEMANDS = st.builds(
    Demand,
    input_tokens=st.integers(0, 60),
    output_tokens=st.integers(1, 200),
    choices=st.integers(1, 3),
    input_price=st.sampled_from([0, 150_000, 3_000_000, 30_000_001]),
    output_price=st.sampled_from([0, 600_000, 7_333_333, 60_000_000]),
    is_flexible=st.booleans(),
)
ACCOUNTS = st.lists(
    st.builds(
        minute_budget,
        limit=st.integers(0, 600),
        metric=st.sampled_from(["tokens", "cost", "requests"]),
        mode=st.sampled_from(["enforce", "enforce", "shadow"]),
        budget_id=st.integers(1, 4),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda it: it.budget.id,
)
CALLS = st.lists(
    st.tuples(PEOPLE_DEMANDS, st.sampled_from(["settle", "give back", "keep"]), st.integers(0, 90)),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(accounts=ACCOUNTS, calls=CALLS)
def test_windows_in_redis_judge_as_the_book_does(
    url: str, accounts: list[Account], calls: list[tuple[Demand, str, int]]
) -> None:
    async def run() -> None:
        await flush(url)
        async with workers(url, count=1) as (shared,):
            book = OwnWindows(workers=1)
            for number, (demand, end, real) in enumerate(calls):
                asked = wish(str(number), accounts, demand)
                taken = await shared.take(asked)
                judged = book.take(asked, NOW)
                assert said_of(taken) == said_of(judged)
                assert taken.standings == judged.standings
                assert len(taken.standings) == len(accounts)
                if isinstance(taken, Taken):
                    await finish(shared, book, taken, end, real)

    asyncio.run(run())


async def finish(shared: ShortWindows, book: OwnWindows, taken: Taken, end: str, real: int) -> None:
    spend = Spend(real, real)
    if end == "settle":
        await shared.settle(taken, spend)
        book.settle(taken.hold_id, spend)
    elif end == "give back":
        await shared.give_back(taken)
        book.release(taken.hold_id)


def said_of(outcome: Taken | Granted | Refused) -> object:
    if isinstance(outcome, Refused):
        return outcome
    return outcome.output_tokens, outcome.would_refuse


# A worker by itself


def test_worker_by_itself_has_its_part_of_each_window() -> None:
    own = OwnWindows(workers=4)
    it = minute_budget(10)

    outcomes = [own.take(wish(str(n), [it]), NOW) for n in range(5)]

    assert [isinstance(outcome, Granted) for outcome in outcomes] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert outcomes[-1] == Refused(it, 0, 1)


@pytest.mark.parametrize(("limit", "granted"), [(1, True), (0, False)])
def test_worker_by_itself_has_one_request_where_there_is_any(limit: int, granted: bool) -> None:
    own = OwnWindows(workers=4)

    assert isinstance(own.take(wish("a", [minute_budget(limit)]), NOW), Granted) is granted


def test_worker_by_itself_remembers_no_window_that_is_over() -> None:
    own = OwnWindows(workers=1)
    own.take(wish("settled", [minute_budget(10)]), NOW)
    own.settle("settled", Spend(1, 0))
    own.take(wish("open", [minute_budget(10, budget_id=2)]), NOW)
    later = NOW + timedelta(minutes=2)

    own.take(Reserve("later", "gpt-4o", (), DEMAND, later), later)
    windows_with_holds = set(own._book.lines)
    own.release("open")
    own.take(Reserve("last", "gpt-4o", (), DEMAND, later), later)

    assert windows_with_holds == {(2, "ana", MINUTE.start)}
    assert own._book.lines == {}


# Redis away


async def timed(awaited: Awaitable[T]) -> tuple[T, float]:
    started_s = time.monotonic()
    return await awaited, time.monotonic() - started_s


def test_frozen_redis_costs_its_patience_once_and_then_nothing(fragile: FragileValkey) -> None:
    it = minute_budget(1000)

    async def story(one: ShortWindows, _: ShortWindows) -> list[float]:
        await take(one, it)
        fragile.freeze()
        took_s = [(await timed(take(one, it, hold_id=f"{n}")))[1] for n in range(3)]
        # Its probes go on failing; nobody waits for them.
        for n in range(30):
            took_s.append((await timed(take(one, it, hold_id=f"later {n}")))[1])
            await asyncio.sleep(REST_S / 10)
        return took_s

    first_s, *others_s = two(fragile.url, story)

    assert first_s < AT_ONCE_S
    # Of one or another a busy machine may make anything.
    assert median(others_s) < NO_WAIT_S


def test_calls_that_freeze_together_all_go_on_after_its_patience(fragile: FragileValkey) -> None:
    it = minute_budget(1000)

    async def story(one: ShortWindows, _: ShortWindows) -> tuple[list[Taken | Refused], float]:
        await take(one, it)
        fragile.freeze()
        calls = [take(one, it, hold_id=f"{n}") for n in range(300)]
        return await timed(asyncio.gather(*calls))

    outcomes, took_s = two(fragile.url, story)

    assert all(isinstance(outcome, Taken) for outcome in outcomes)
    assert took_s < AT_ONCE_S


@pytest.mark.parametrize("way", ["freeze", "kill"])
def test_redis_away_leaves_each_worker_its_part(fragile: FragileValkey, way: str) -> None:
    it = minute_budget(10)

    async def story(one: ShortWindows, other: ShortWindows) -> list[int]:
        await asyncio.gather(take(one, it, hold_id="x"), take(other, it, hold_id="y"))
        getattr(fragile, way)()
        taken = []
        for worker in (one, other):
            outcomes = [await take(worker, it, hold_id=f"{n}") for n in range(10)]
            taken.append(sum(isinstance(outcome, Taken) for outcome in outcomes))
        return taken

    assert two(fragile.url, story) == [5, 5]


@pytest.mark.parametrize("way", ["freeze", "kill"])
def test_redis_back_is_used_again(fragile: FragileValkey, way: str) -> None:
    it = minute_budget(1000)

    async def story(one: ShortWindows, _: ShortWindows) -> None:
        getattr(fragile, way)()
        away = await take(one, it)
        (fragile.thaw if way == "freeze" else fragile.start_again)()

        async def is_back() -> bool:
            taken = await take(one, it, hold_id=str(time.monotonic()))
            return isinstance(taken, Taken) and taken.is_shared

        assert isinstance(away, Taken)
        assert not away.is_shared
        await until(is_back, within_s=REST_S + AT_ONCE_S + 1)

    two(fragile.url, story)


def test_redis_that_was_never_there_costs_next_to_nothing() -> None:
    async def story(one: ShortWindows, _: ShortWindows) -> float:
        return (await timed(take(one, minute_budget(10))))[1]

    assert two(f"redis://127.0.0.1:{free_port()}/0", story) < AT_ONCE_S


def test_junk_under_a_windows_key_leaves_the_worker_to_itself_and_redis_in_use(url: str) -> None:
    junk, good = minute_budget(10), minute_budget(10, budget_id=2)

    async def story(one: ShortWindows, _: ShortWindows) -> tuple[bool, bool]:
        await take(one, junk)
        async with redis_at(url) as redis:
            (key,) = await redis.keys(f"{PREFIX}*")
            await redis.delete(key)
            await redis.hset(key, "junk", "junk")
        alone, shared = await take(one, junk, hold_id="b"), await take(one, good, hold_id="c")
        assert isinstance(alone, Taken)
        assert isinstance(shared, Taken)
        return alone.is_shared, shared.is_shared

    assert two(url, story) == (False, True)


# The link


def test_link_gives_each_caller_its_own_answers(url: str) -> None:
    async def run() -> list[object]:
        async with links(url, 1) as (link,):
            await link.run(lambda pipeline: pipeline.set("text", "x"))
            answers = await asyncio.gather(
                link.run(lambda pipeline: (pipeline.get("text"), pipeline.exists("nobody"))),
                link.run(lambda pipeline: (pipeline.incr("text"), pipeline.get("text"))),
                link.run(lambda pipeline: pipeline.get("text")),
            )
            return list(answers)

    assert asyncio.run(run()) == [["x", 0], None, ["x"]]


def test_link_that_is_given_a_fault_serves_the_next(url: str) -> None:
    async def run() -> tuple[object, object]:
        async with links(url, 1) as (link,):
            return (
                await link.run(lambda _: 1 // 0),
                await link.run(lambda pipeline: pipeline.echo("here")),
            )

    assert asyncio.run(run()) == (None, ["here"])


def test_link_that_is_closed_leaves_nobody_waiting(fragile: FragileValkey) -> None:
    async def run() -> object:
        async with links(fragile.url, 1) as (link,):
            await link.run(lambda pipeline: pipeline.ping())
            fragile.freeze()
            waiting = []
            # The first goes out, the others wait for its answer.
            for _ in range(3):
                waiting.append(asyncio.ensure_future(ping(link)))
                await asyncio.sleep(0.02)
        async with asyncio.timeout(1):
            return await asyncio.gather(*waiting)

    assert asyncio.run(run()) == [None, None, None]


async def ping(link: RedisLink) -> object:
    with suppress(RedisError):
        return await link.run(lambda pipeline: pipeline.ping())
    return "an error"
