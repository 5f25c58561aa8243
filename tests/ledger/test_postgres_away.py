"""Postgres stopped, frozen and started again under load: who is served, and what is posted."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter

import pytest

from tests.outages import (
    AWAY_S,
    CLIENTS,
    HOLD_LIFETIME_S,
    IN_FLIGHT_S,
    KEY,
    LONGEST_S,
    Place,
    StartPlace,
    Told,
)
from tests.servers import run_solaris
from tests.waiting import wait_until


@pytest.fixture
def place(start_place: StartPlace) -> Place:
    return start_place("strict")


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
    start_place: StartPlace,
) -> None:
    place = start_place("lenient")

    meanwhile = asyncio.run(place.while_stopped())

    say("lenient", place.load.told, meanwhile)
    assert {it.status for it in meanwhile} == {200}
    place.assert_books_say_what_was_answered()


@pytest.mark.timeout(180)
def test_lenient_proxy_refuses_when_its_leases_are_spent(start_place: StartPlace) -> None:
    place = start_place("lenient")
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
    start_place: StartPlace,
) -> None:
    place = start_place("lenient")

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
