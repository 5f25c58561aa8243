from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.services.access_service import Caller
from app.services.identity import InvalidFactError, Person
from app.services.people_service import PeopleService
from tests.fakes.clock import FakeClock
from tests.fakes.people_store import FakePeopleStore


def caller(user_id: str | None = "ana", team: str | None = None, **facts: Any) -> Caller:
    person = Person(user_id=user_id, team=team, **facts)
    return Caller(1, "librechat", "sk-", "user", True, None, user_id, team, person)


@dataclass
class Stage:
    store: FakePeopleStore = field(default_factory=FakePeopleStore)

    def meet(self, *callers: Caller) -> list[Caller]:
        """Meet them all, and let what was noted be written down."""

        async def met() -> list[Caller]:
            people = PeopleService(self.store, FakeClock())
            await people.open()
            answers = [await people.meet(it) for it in callers]
            await people.close()
            return answers

        return asyncio.run(met())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_caller_met_is_written_down_at_the_latest_when_the_worker_ends(stage: Stage) -> None:
    stage.meet(caller("ana", "vendas", name="Ana", email="ana@x.br", role="USER"))

    ((seen,),) = stage.store.written
    assert (seen.user_id, seen.name, seen.email, seen.role) == ("ana", "Ana", "ana@x.br", "USER")
    assert (seen.team_id, seen.key) == ("vendas", "librechat")


@pytest.mark.parametrize("named", [None, "ti"])
def test_caller_is_in_the_team_that_an_administrator_gave_them(
    stage: Stage, named: str | None
) -> None:
    stage.store.given = {"ana": "vendas"}

    (met,) = stage.meet(caller("ana", named))

    assert met.team == "vendas"


def test_caller_without_such_a_team_is_in_the_one_that_was_named(stage: Stage) -> None:
    stage.store.given = {"bob": "vendas"}

    assert [it.team for it in stage.meet(caller("ana", "ti"), caller(None, "rh"))] == ["ti", "rh"]


def test_team_that_was_named_is_written_down_and_not_the_one_given(stage: Stage) -> None:
    stage.store.given = {"ana": "vendas"}

    stage.meet(caller("ana", "ti"))

    ((seen,),) = stage.store.written
    assert seen.team_id == "ti"


@pytest.mark.parametrize("person_id", ["", " ana", "ana ", "a" * 257, "a\nb", "{{X}}\x00"])
def test_id_that_no_client_could_name_is_refused(stage: Stage, person_id: str) -> None:
    people = PeopleService(stage.store, FakeClock())

    with pytest.raises(InvalidFactError, match="id"):
        people.set_person(person_id, {"team": "ti"})
    with pytest.raises(InvalidFactError, match="id"):
        people.set_team(person_id, "TI")


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("email", "ana"),
        ("email", "ana@"),
        ("email", "@x.br"),
        ("email", "ana souza@x.br"),
        ("name", "Ana\x1b[31m"),
        ("name", "n" * 257),
        ("team", "t" * 257),
    ],
)
def test_fact_that_cannot_be_one_is_refused(stage: Stage, fact: str, value: str) -> None:
    people = PeopleService(stage.store, FakeClock())

    with pytest.raises(InvalidFactError) as refused:
        people.set_person("ana", {fact: value})

    assert refused.value.param == fact
