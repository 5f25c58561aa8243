"""Calls at once of one named person: two workers on one loop, in a real Valkey or Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from app.embedded.network import free_port
from app.ledger.slot_store import SlotStore
from app.services.call_slots import CallSlots, Slot
from app.services.redis_link import REST_S, RedisLink
from app.services.slot_boards import PREFIX, PostgresSlots, RedisSlots, SlotBoard
from app.utils.clock import SystemClock
from app.utils.exceptions import TooManyCallsError
from tests.fakes.valkey import FragileValkey
from tests.ledger.windows import redis_at

LIMIT = 4
LIFE_S = 0.5

Story = Callable[[CallSlots, CallSlots], Awaitable[None]]


@dataclass(frozen=True)
class Place:
    """Where slots are kept: Redis at a URL, or Postgres at one."""

    kind: str
    url: str

    @asynccontextmanager
    async def workers(
        self, limit: int = LIMIT, life_s: float = 30.0, workers: int = 2
    ) -> AsyncIterator[list[CallSlots]]:
        async with AsyncExitStack() as opened:
            made = []
            for _ in range(2):
                slots = CallSlots(self._board(opened, life_s), limit, workers)
                opened.push_async_callback(slots.close)
                made.append(slots)
            yield made

    def _board(self, opened: AsyncExitStack, life_s: float) -> SlotBoard:
        if self.kind == "redis":
            link = RedisLink(self.url, SystemClock())
            opened.push_async_callback(link.close)
            return RedisSlots(link, life_s)
        engine = create_engine(self.url)
        opened.callback(engine.dispose)
        return PostgresSlots(SlotStore(engine), SystemClock(), life_s)

    def two(self, story: Story, limit: int = LIMIT, life_s: float = 30.0) -> None:
        async def run() -> None:
            async with self.workers(limit, life_s) as (one, other):
                await story(one, other)

        asyncio.run(run())


@pytest.fixture(params=["redis", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "postgres":
        return Place("postgres", request.getfixturevalue("clean_database"))
    url = request.getfixturevalue("redis_url")
    asyncio.run(flush(url))
    return Place("redis", url)


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[FragileValkey]:
    valkey = FragileValkey(tmp_path / "valkey")
    yield valkey
    valkey.kill()


async def flush(url: str) -> None:
    async with redis_at(url) as redis:
        await redis.flushall()


async def gets_in(slots: CallSlots, person: str = "ana") -> bool:
    try:
        return await slots.enter(person) is not None
    except TooManyCallsError:
        return False


async def fill(slots: CallSlots, count: int = LIMIT) -> list[Slot | None]:
    return [await slots.enter("ana") for _ in range(count)]


async def get_in_soon(slots: CallSlots) -> None:
    """Wait until there is room again."""
    async with asyncio.timeout(5):
        while not await gets_in(slots):  # noqa: ASYNC110  # workers set no event
            await asyncio.sleep(0.01)


def test_person_at_two_workers_gets_exactly_as_many_calls_as_allowed(place: Place) -> None:
    async def story(one: CallSlots, other: CallSlots) -> None:
        tries = [gets_in((one, other)[n % 2]) for n in range(64)]

        assert sum(await asyncio.gather(*tries)) == LIMIT

    place.two(story)


def test_person_is_not_bound_by_what_others_do(place: Place) -> None:
    async def story(one: CallSlots, other: CallSlots) -> None:
        await fill(one)

        assert await gets_in(other, "bia")
        assert not await gets_in(other, "ana")

    place.two(story)


def test_call_that_is_over_makes_room_at_the_other_worker(place: Place) -> None:
    async def story(one: CallSlots, other: CallSlots) -> None:
        slots = await fill(one)
        before = await gets_in(other)
        one.leave(slots[0])
        await get_in_soon(other)

        assert not before
        assert not await gets_in(other)

    place.two(story)


def test_call_that_leaves_twice_makes_room_for_one(place: Place) -> None:
    async def story(one: CallSlots, other: CallSlots) -> None:
        slots = await fill(one)
        for _ in range(2):
            one.leave(slots[0])
        await get_in_soon(other)

        assert not await gets_in(one)

    place.two(story)


def test_refusal_says_to_try_again_in_a_second(place: Place) -> None:
    async def story(one: CallSlots, _: CallSlots) -> None:
        with pytest.raises(TooManyCallsError) as refused:
            await fill(one, LIMIT + 1)

        assert (refused.value.status, refused.value.retry_after_s) == (429, 1)

    place.two(story)


def test_nobody_and_everybody_without_a_limit_is_not_counted(place: Place) -> None:
    async def story(one: CallSlots, _: CallSlots) -> None:
        assert [await one.enter(None) for _ in range(LIMIT + 1)] == [None] * (LIMIT + 1)

    async def unlimited(one: CallSlots, _: CallSlots) -> None:
        assert await fill(one, 100) == [None] * 100

    place.two(story)
    place.two(unlimited, limit=0)


def test_calls_of_a_worker_that_is_gone_make_room_after_their_lifetime(place: Place) -> None:
    async def story(gone: CallSlots, other: CallSlots) -> None:
        await fill(gone, LIMIT - 1)
        await fill(other, 1)
        before = await gets_in(other)
        for _ in range(8):
            await asyncio.sleep(LIFE_S / 4)
            await other.keep_alive()

        assert not before
        assert [await gets_in(other) for _ in range(LIMIT)] == [True] * (LIMIT - 1) + [False]

    place.two(story, life_s=LIFE_S)


def test_calls_that_are_kept_alive_are_counted_beyond_their_lifetime(place: Place) -> None:
    async def story(one: CallSlots, other: CallSlots) -> None:
        await fill(one)
        for _ in range(8):
            await asyncio.sleep(LIFE_S / 4)
            await one.keep_alive()

        assert not await gets_in(other)

    place.two(story, life_s=LIFE_S)


def test_calls_of_the_worker_that_asks_are_alive_whatever_was_lost(place: Place) -> None:
    async def story(one: CallSlots, other: CallSlots) -> None:
        await fill(one)
        await lose_all(place)

        assert not await gets_in(one)
        assert not await gets_in(other)

    place.two(story)


async def lose_all(place: Place) -> None:
    if place.kind == "redis":
        await flush(place.url)
    else:
        engine = create_engine(place.url)
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE calls_under_way"))
        engine.dispose()


def test_caller_that_leaves_while_it_enters_takes_no_place(place: Place) -> None:
    async def story(one: CallSlots, other: CallSlots) -> None:
        tasks = [asyncio.create_task(gets_in(one)) for _ in range(LIMIT)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.2)

        assert sum([await gets_in(other) for _ in range(LIMIT + 1)]) == LIMIT

    place.two(story)


def test_nothing_is_remembered_of_a_person_who_asks_for_nothing(place: Place) -> None:
    async def story(one: CallSlots, _: CallSlots) -> None:
        for slot in await fill(one):
            one.leave(slot)
        await one.close()

    place.two(story)

    assert asyncio.run(remembered(place)) == 0


async def remembered(place: Place) -> int:
    if place.kind == "redis":
        async with redis_at(place.url) as redis:
            return len(await redis.keys(f"{PREFIX}*"))
    engine = create_engine(place.url)
    with engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM calls_under_way")).scalar_one()
    engine.dispose()
    return int(count)


# The board away


@pytest.mark.parametrize("way", ["freeze", "kill"])
def test_redis_away_leaves_each_worker_its_part_of_the_places(
    fragile: FragileValkey, way: str
) -> None:
    async def story(one: CallSlots, other: CallSlots) -> None:
        # One of its two is from before.
        await fill(one, 1)
        getattr(fragile, way)()

        assert [await gets_in(one) for _ in range(3)] == [True, False, False]
        assert [await gets_in(other) for _ in range(3)] == [True, True, False]

    Place("redis", fragile.url).two(story)


def test_redis_back_counts_what_came_while_it_was_away(fragile: FragileValkey) -> None:
    place = Place("redis", fragile.url)

    async def story(one: CallSlots, other: CallSlots) -> None:
        fragile.kill()
        await fill(one, 2)
        fragile.start_again()
        await asyncio.sleep(2 * REST_S)
        await asyncio.gather(*[gets_in((one, other)[n % 2]) for n in range(20)])
        async with redis_at(fragile.url) as redis:
            assert await redis.zcard(f"{PREFIX}ana") == LIMIT

    place.two(story)


@pytest.mark.parametrize("limit", [1, 3])
def test_place_where_postgres_is_away_is_at_least_one(limit: int) -> None:
    nowhere = f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/nothing"

    async def run() -> list[bool]:
        async with Place("postgres", nowhere).workers(limit, workers=4) as (one, _):
            return [await gets_in(one) for _ in range(2)]

    assert asyncio.run(run()) == [True, False]
