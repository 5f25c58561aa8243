from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from app.services.team_assignments import (
    FRESH_S,
    LONGEST_CHANGE_S,
    PATIENCE_S,
    RECHECK_S,
    RETRY_S,
    TeamAssignments,
)
from app.utils.exceptions import DatabaseUnavailableError
from tests.fakes.clock import FakeClock
from tests.fakes.people_store import FakePeopleStore

T = TypeVar("T")


@dataclass
class Stage:
    clock: FakeClock = field(default_factory=FakeClock)
    store: FakePeopleStore = field(default_factory=FakePeopleStore)

    def __post_init__(self) -> None:
        self.assignments = TeamAssignments(self.store, self.clock)
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def team_of(self, person: str = "ana") -> str | None:
        return self.run(self.assignments.team_of(person))

    def close(self) -> None:
        self.store.thaw()
        self._runner.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_team_that_was_given_is_known_at_the_first_call(stage: Stage) -> None:
    stage.store.given = {"ana": "vendas"}

    assert (stage.team_of("ana"), stage.team_of("bob")) == ("vendas", None)


def test_team_is_asked_for_once_while_it_is_fresh(stage: Stage) -> None:
    stage.team_of()
    stage.clock.advance(FRESH_S - 0.1)
    for person in ("ana", "bob", "carla"):
        stage.team_of(person)

    assert stage.store.windows == [None]


def test_team_changed_is_known_when_the_old_one_is_no_longer_fresh(stage: Stage) -> None:
    stage.store.given = {"ana": "vendas", "bob": "ti"}
    before = stage.team_of()
    stage.store.given = {"ana": "ti", "bob": None}
    stage.clock.advance(FRESH_S)

    assert (before, stage.team_of("ana"), stage.team_of("bob")) == ("vendas", "ti", None)
    assert stage.store.windows == [None, FRESH_S + LONGEST_CHANGE_S]


def test_team_of_a_row_that_was_deleted_ends_after_a_minute(stage: Stage) -> None:
    stage.store.given = {"ana": "vendas"}
    stage.team_of()
    stage.store.given = {}
    stage.clock.advance(RECHECK_S - 1)
    before = stage.team_of()
    stage.clock.advance(FRESH_S)

    assert (before, stage.team_of()) == ("vendas", None)


def test_team_is_remembered_while_postgres_is_away(stage: Stage) -> None:
    stage.store.given = {"ana": "vendas"}
    stage.team_of()
    stage.store.is_away = True
    stage.clock.advance(3600)

    assert stage.team_of() == "vendas"


def test_team_is_not_guessed_where_postgres_was_never_there(stage: Stage) -> None:
    stage.store.is_away = True

    with pytest.raises(DatabaseUnavailableError):
        stage.team_of()


def test_team_is_asked_for_again_when_postgres_may_be_back(stage: Stage) -> None:
    stage.store.given = {"ana": "vendas"}
    stage.store.is_away = True
    with pytest.raises(DatabaseUnavailableError):
        stage.team_of()
    stage.store.is_away = False
    with pytest.raises(DatabaseUnavailableError):
        stage.team_of()
    stage.clock.advance(RETRY_S)

    assert stage.team_of() == "vendas"


def test_frozen_postgres_costs_one_call_its_patience_and_the_next_ones_nothing(
    stage: Stage,
) -> None:
    stage.store.given = {"ana": "vendas"}
    stage.team_of()
    stage.store.freeze()
    stage.clock.advance(FRESH_S)

    began_s = time.monotonic()
    teams = [stage.team_of() for _ in range(50)]
    took_s = time.monotonic() - began_s

    assert set(teams) == {"vendas"}
    assert took_s < 20 * PATIENCE_S


def test_poll_learns_of_a_change_without_a_call(stage: Stage) -> None:
    async def watch() -> str | None:
        poll = asyncio.create_task(stage.assignments.keep_fresh())
        async with asyncio.timeout(10):
            while not stage.store.windows:  # noqa: ASYNC110  # it is read by a thread
                await asyncio.sleep(0.01)
        poll.cancel()
        await asyncio.wait({poll})
        await stage.assignments.close()
        stage.store.is_away = True
        return await stage.assignments.team_of("ana")

    stage.store.given = {"ana": "vendas"}

    assert stage.run(watch()) == "vendas"
