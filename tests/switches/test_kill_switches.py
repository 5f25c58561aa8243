"""What a worker believes of kill switches: for how long, of whom, and without Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from app.ledger.rules import Payer
from app.services.kill_switch_store import KillSwitch
from app.services.kill_switches import KillSwitches
from app.utils.exceptions import (
    AccessSuspendedError,
    DatabaseUnavailableError,
    SolarisError,
    TeamSuspendedError,
    UserSuspendedError,
)
from tests.fakes.clock import FakeClock
from tests.fakes.kill_switches import FakeKillSwitchStore

ANA = Payer("ana", "vendas", "librechat")
NOBODY = Payer(None, None, "librechat")


def thrown(
    clock: FakeClock, scope: str, subject: str = "", lasting_s: float | None = None
) -> KillSwitch:
    now = clock.now()
    until = None if lasting_s is None else now + timedelta(seconds=lasting_s)
    return KillSwitch(1, scope, subject, "auditoria", now, "cli:eva", until, None, None)


async def refused(switches: KillSwitches, payer: Payer) -> type[SolarisError] | None:
    try:
        await switches.require_admitted(payer)
    except SolarisError as error:
        return type(error)
    return None


async def believed(
    clock: FakeClock, rows: Sequence[KillSwitch], payer: Payer
) -> type[SolarisError] | None:
    switches = KillSwitches(FakeKillSwitchStore(*rows), clock)
    await switches.poll()
    return await refused(switches, payer)


@pytest.mark.parametrize(
    ("places", "payer", "error"),
    [
        ([("all", "")], ANA, AccessSuspendedError),
        ([("all", "")], NOBODY, AccessSuspendedError),
        ([("team", "vendas")], ANA, TeamSuspendedError),
        ([("team", "compras")], ANA, None),
        ([("user", "ana")], ANA, UserSuspendedError),
        ([("user", "vendas"), ("team", "ana")], ANA, None),
        ([("user", "ana"), ("team", "vendas")], ANA, TeamSuspendedError),
        ([("model", "gpt-4o")], ANA, None),
        ([("team", "vendas"), ("user", "ana")], NOBODY, None),
    ],
)
def test_switch_means_those_it_names(
    places: list[tuple[str, str]], payer: Payer, error: type[SolarisError] | None
) -> None:
    clock = FakeClock()
    rows = [thrown(clock, *place) for place in places]

    assert asyncio.run(believed(clock, rows, payer)) is error


def test_switch_ends_at_its_own_moment_without_being_asked_for() -> None:
    clock = FakeClock()

    async def ask() -> list[bool]:
        switches = KillSwitches(FakeKillSwitchStore(thrown(clock, "all", "", 60)), clock)
        await switches.poll()
        seen = []
        for seconds in (0, 59.999, 0.001):
            clock.advance(seconds)
            seen.append(await refused(switches, ANA) is not None)
        return seen

    assert asyncio.run(ask()) == [True, True, False]


def test_last_known_switch_stays_while_postgres_is_away() -> None:
    clock = FakeClock()
    store = FakeKillSwitchStore(thrown(clock, "user", "ana"))

    async def ask() -> type[SolarisError] | None:
        switches = KillSwitches(store, clock)
        await switches.poll()
        store.is_away, store.rows = True, ()
        await switches.poll()
        return await refused(switches, ANA)

    assert asyncio.run(ask()) is UserSuspendedError


def test_worker_that_never_knew_lets_nobody_in_until_it_knows() -> None:
    store, clock = FakeKillSwitchStore(), FakeClock()
    store.is_away = True

    async def ask() -> list[type[SolarisError] | None]:
        switches = KillSwitches(store, clock)
        await switches.poll()
        first = await refused(switches, ANA)
        store.is_away = False
        clock.advance(1)
        return [first, await refused(switches, ANA)]

    assert asyncio.run(ask()) == [DatabaseUnavailableError, None]


class Answer:
    def __init__(self) -> None:
        self.error: SolarisError | None = None

    def stop(self, error: SolarisError) -> None:
        self.error = error


@pytest.mark.parametrize(
    ("place", "is_stopped"),
    [
        (("all", ""), True),
        (("model", "gpt-4o"), True),
        (("model", "gpt-4"), False),
        (("team", "vendas"), True),
        (("user", "bia"), False),
    ],
)
def test_answer_under_way_is_stopped_where_it_is_meant(
    place: tuple[str, str], is_stopped: bool
) -> None:
    clock, store, answer = FakeClock(), FakeKillSwitchStore(), Answer()

    async def ask() -> None:
        switches = KillSwitches(store, clock)
        await switches.poll()
        switches.watch(answer, ANA, "gpt-4o")
        store.rows = (thrown(clock, *place),)
        await switches.poll()

    asyncio.run(ask())

    assert (answer.error is not None) == is_stopped


def test_answer_that_begins_under_a_switch_is_stopped_at_once() -> None:
    clock, answer = FakeClock(), Answer()

    async def ask() -> None:
        switches = KillSwitches(FakeKillSwitchStore(thrown(clock, "all")), clock)
        await switches.poll()
        switches.watch(answer, ANA, "gpt-4o")

    asyncio.run(ask())

    assert isinstance(answer.error, AccessSuspendedError)


def test_answer_that_has_ended_is_left_alone() -> None:
    clock, store, answer = FakeClock(), FakeKillSwitchStore(), Answer()

    async def ask() -> None:
        switches = KillSwitches(store, clock)
        await switches.poll()
        switches.watch(answer, ANA, "gpt-4o")
        switches.forget(answer)
        store.rows = (thrown(clock, "all"),)
        await switches.poll()

    asyncio.run(ask())

    assert answer.error is None
