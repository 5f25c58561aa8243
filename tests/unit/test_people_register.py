from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from app.services.people_register import (
    MAX_BATCH,
    MAX_REMEMBERED,
    MAX_WAITING,
    REMEMBERED_S,
    PeopleRegister,
)
from tests.fakes.clock import FakeClock
from tests.fakes.people_store import FakePeopleStore


@dataclass
class Stage:
    clock: FakeClock = field(default_factory=FakeClock)
    store: FakePeopleStore = field(default_factory=FakePeopleStore)

    def __post_init__(self) -> None:
        self.register = PeopleRegister(self.store, self.clock)

    def write(self) -> bool:
        return asyncio.run(self.register.write())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_person_who_calls_again_is_written_down_once(stage: Stage) -> None:
    for _ in range(2):
        stage.register.note("ana", "vendas", "librechat", name="Ana")
        stage.write()

    assert stage.store.seen() == ["ana"]


def test_person_is_written_down_with_what_was_said(stage: Stage) -> None:
    stage.register.note("ana", "vendas", "librechat", name="Ana", email="a@x.br", role="USER")
    stage.write()

    ((seen,),) = stage.store.written
    assert (seen.name, seen.email, seen.role) == ("Ana", "a@x.br", "USER")
    assert (seen.team_id, seen.key, seen.at) == ("vendas", "librechat", stage.clock.now())


@pytest.mark.parametrize(
    "said", [{"name": "Ana Souza"}, {"email": "ana@x.br"}, {"role": "ADMIN"}, {"team_id": "ti"}]
)
def test_person_of_whom_something_new_is_said_is_written_down_again(
    stage: Stage, said: dict[str, str]
) -> None:
    stage.register.note("ana", "vendas", "librechat")
    stage.write()

    stage.register.note("ana", said.pop("team_id", "vendas"), "librechat", **said)
    stage.write()

    assert stage.store.seen() == ["ana", "ana"]


def test_person_is_written_down_again_after_a_while(stage: Stage) -> None:
    counts = []
    for _ in range(2):
        stage.register.note("ana", None, "librechat")
        stage.write()
        stage.clock.advance(REMEMBERED_S - 1)
        stage.register.note("ana", None, "librechat")
        stage.write()
        counts.append(len(stage.store.seen()))
        stage.clock.advance(1)

    assert counts == [1, 2]


def test_calls_before_the_first_writing_are_joined(stage: Stage) -> None:
    stage.register.note("ana", "vendas", "librechat", name="Ana", email="a@x.br")
    stage.register.note("ana", None, "openwebui", name="Ana Souza")
    stage.write()

    ((seen,),) = stage.store.written
    assert (seen.name, seen.email, seen.team_id, seen.key) == (
        "Ana Souza",
        "a@x.br",
        None,
        "librechat",
    )


def test_team_without_a_person_is_written_down(stage: Stage) -> None:
    stage.register.note(None, "vendas", "rag")
    stage.register.note(None, "vendas", "rag")
    stage.write()

    ((seen,),) = stage.store.written
    assert (seen.user_id, seen.team_id) == (None, "vendas")


@pytest.mark.parametrize("whom", [(None, None), ("", ""), ("a" * 257, None), ("ana", "t" * 257)])
def test_who_cannot_be_in_the_table_is_left_out(
    stage: Stage, whom: tuple[str | None, str | None]
) -> None:
    stage.register.note(*whom, "librechat")

    assert stage.write()
    assert stage.store.written == []


def test_people_met_while_postgres_is_away_are_written_down_when_it_is_back(stage: Stage) -> None:
    stage.store.is_away = True
    stage.register.note("ana", "ti", "librechat", name="Ana")
    first = stage.write()
    stage.register.note("ana", "vendas", "openwebui")
    stage.store.is_away = False

    assert (first, stage.write()) == (False, True)
    ((seen,),) = stage.store.written
    assert (seen.name, seen.team_id, seen.key) == ("Ana", "vendas", "librechat")


def test_rows_that_postgres_refuses_are_dropped_without_a_word_of_them(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.store.refuses = True
    stage.register.note("ana", None, "librechat", name="Ana", email="a@x.br")
    with caplog.at_level(logging.DEBUG):
        is_done = stage.write()
    stage.store.refuses = False

    assert (is_done, stage.write(), stage.store.written) == (True, True, [])
    assert "people_dropped" in caplog.text
    assert [word for word in ("Ana", "a@x.br", "own text") if word in caplog.text] == []


def test_many_are_written_down_in_batches(stage: Stage) -> None:
    for number in range(MAX_BATCH + 1):
        stage.register.note(f"p{number}", None, "librechat")
    stage.write()

    assert [len(batch) for batch in stage.store.written] == [MAX_BATCH, 1]


def test_more_than_can_wait_are_met_again_with_their_next_call(stage: Stage) -> None:
    for number in range(MAX_WAITING):
        stage.register.note(f"p{number}", None, "librechat")
    stage.register.note("late", None, "librechat")
    stage.write()
    before = "late" in stage.store.seen()

    stage.register.note("late", None, "librechat")
    stage.write()

    assert (before, "late" in stage.store.seen()) == (False, True)


def test_memory_of_who_was_seen_is_bounded(stage: Stage) -> None:
    for number in range(MAX_REMEMBERED + 1):
        stage.register.note(f"p{number}", None, "librechat")
        if number % MAX_WAITING == MAX_WAITING - 1:
            stage.write()
    stage.write()
    written = len(stage.store.seen())

    stage.register.note("p1", None, "librechat")
    stage.register.note("p0", None, "librechat")
    stage.write()

    assert stage.store.seen()[written:] == ["p0"]


def test_writing_that_is_cancelled_is_done_at_the_end(stage: Stage) -> None:
    async def stop_meanwhile() -> None:
        stage.store.freeze()
        writing = asyncio.create_task(stage.register.write())
        await asyncio.sleep(0.05)
        writing.cancel()
        await asyncio.wait({writing})
        stage.store.thaw()
        await stage.register.close()

    stage.register.note("ana", None, "librechat")
    asyncio.run(stop_meanwhile())

    # Once by the thread that was given up, and once more at the end.
    assert set(stage.store.seen()) == {"ana"}
    assert len(stage.store.seen()) == 2


def test_writing_goes_on_by_itself_until_it_is_stopped(stage: Stage) -> None:
    async def wait_for_it() -> None:
        loop = asyncio.create_task(stage.register.keep_writing())
        stage.register.note("ana", None, "librechat")
        async with asyncio.timeout(10):
            while not stage.store.written:  # noqa: ASYNC110  # it is written by a thread
                await asyncio.sleep(0.01)
        loop.cancel()
        await asyncio.wait({loop})

    asyncio.run(wait_for_it())

    assert stage.store.seen() == ["ana"]
