"""Leases under any history: what is granted in the ledger's absence is never anybody else's."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from app.ledger.book import (
    Book,
    Demand,
    Expire,
    Granted,
    HoldState,
    Line,
    Operation,
    Outcome,
    Post,
    Release,
    Reserve,
    Settle,
    Spend,
)
from app.ledger.lease import GRANTS_FOR_S, RENEWED_EVERY_S, LeaseBook
from app.ledger.periods import Window
from app.ledger.rules import Account, Budget
from app.services.lease_journal import LeaseJournal
from app.services.leases import Leases
from app.utils.exceptions import DatabaseUnavailableError, DatabaseUnreachableError
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WINDOW = Window(NOW, NOW + timedelta(days=1))
SHARED = Account(Budget(1, "global", "", "tokens", "day", 400, "enforce"), "", WINDOW)
OWN = Account(Budget(2, "user", "*", "requests", "day", 60, "enforce"), "ana", WINDOW)
ACCOUNTS = (SHARED, OWN)


class Ledger:
    """Postgres in memory: a book, and what becomes of the way to it."""

    def __init__(self) -> None:
        self.book = Book(lines={it.key: Line() for it in ACCOUNTS})
        self.way = "open"

    async def run(self, operation: Operation) -> Outcome:
        if self.way == "away":
            raise DatabaseUnreachableError(retry_after_s=1)
        if self.way == "silent":
            raise DatabaseUnavailableError(retry_after_s=1)
        outcome = self.book.run(operation)
        if self.way == "answer lost":
            raise DatabaseUnavailableError(retry_after_s=1)
        return outcome


@dataclass
class Process:
    leases: Leases
    book: LeaseBook
    journal: LeaseJournal
    # What it granted and has not posted, by request; None: its call is still under way.
    granted: dict[str, Post | None] = field(default_factory=dict)


def process(folder: Path, name: str, clock: FakeClock) -> Process:
    book, journal = LeaseBook(name, workers=2), LeaseJournal(folder, name)
    return Process(Leases(book, journal, clock), book, journal)


def wish(request_id: str, tokens: int) -> Reserve:
    demand = Demand(tokens, 0, 1, input_price=0, output_price=0, is_flexible=False)
    return Reserve(request_id, "gpt-4o", ACCOUNTS, demand, NOW)


class LeaseMachine(RuleBasedStateMachine):
    """Two processes on one ledger, which may be away, silent, or lose its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.ledger = Ledger()
        self.names = (f"p{number}" for number in range(10_000))
        self.ids = (f"r{number}" for number in range(100_000))
        # What each call took that was granted, and may be charged.
        self.truth: dict[str, int] = {}
        self.processes: list[Process] = []

    @initialize(spent=st.sampled_from([1, 300, 340, 360]))
    def start(self, spent: int) -> None:
        self.processes = [self._new(), self._new()]
        self.look_after(0, 0)
        self.look_after(1, 0)
        # Leases shrink where little is left.
        self.others_call(spent, spent)

    def _new(self) -> Process:
        it = process(Path(self.folder.name), next(self.names), self.clock)
        it.leases.note(ACCOUNTS)
        return it

    @rule(way=st.sampled_from(["open", "away", "silent", "answer lost"]))
    def the_way_changes(self, way: str) -> None:
        self.ledger.way = way

    @rule(at=st.integers(0, 1), seconds=st.sampled_from([0, 61, 61]))
    def look_after(self, at: int, seconds: int) -> None:
        self.clock.advance(seconds)
        it = self.processes[at]
        it.leases.note(ACCOUNTS)
        self.loop.run_until_complete(it.leases.look_after(self.ledger))

    @rule(at=st.integers(0, 1), tokens=st.integers(1, 12))
    def grant(self, at: int, tokens: int) -> None:
        request_id = next(self.ids)
        try:
            self.loop.run_until_complete(self.processes[at].leases.grant(wish(request_id, tokens)))
        except DatabaseUnavailableError:
            return
        self.processes[at].granted[request_id] = None
        self.truth[request_id] = tokens

    @rule(at=st.integers(0, 1), data=st.data())
    def end(self, at: int, data: st.DataObject) -> None:
        it = self.processes[at]
        under_way = [request_id for request_id, post in it.granted.items() if post is None]
        if not under_way:
            return
        request_id = data.draw(st.sampled_from(under_way))
        used = data.draw(st.integers(0, self.truth[request_id]))
        end = Settle(request_id, Spend(used, 0)) if used else Release(request_id)
        post = it.leases.end(end)
        self.truth[request_id] = used
        if post is None:
            del it.granted[request_id], self.truth[request_id]
        else:
            it.granted[request_id] = post

    @rule(at=st.integers(0, 1), twice=st.booleans())
    def post(self, at: int, twice: bool) -> None:
        it = self.processes[at]
        for request_id, post in list(it.granted.items()):
            if post is not None and self._is_posted(post, twice):
                it.leases.posted(request_id)
                del it.granted[request_id]

    def _is_posted(self, post: Post, twice: bool) -> bool:
        try:
            for _ in range(1 + twice):
                self.loop.run_until_complete(self.ledger.run(post))
        except DatabaseUnavailableError:
            return False
        return True

    @precondition(lambda self: any(it.granted for it in self.processes))
    @rule(at=st.integers(0, 1))
    def die(self, at: int) -> None:
        """Its file is let go, as the system does it, and stays as it is."""
        self.processes[at].journal.close()
        self.processes[at] = self._new()
        self.look_after(at, 0)

    @rule(tokens=st.integers(1, 50), used=st.sampled_from([0, 1, 50]))
    def others_call(self, tokens: int, used: int) -> None:
        request_id = next(self.ids)
        if isinstance(self.ledger.book.run(wish(request_id, tokens)), Granted):
            self.truth[request_id] = min(tokens, used)
            self.ledger.book.run(Settle(request_id, Spend(min(tokens, used), 0)))

    @precondition(lambda self: self.ledger.way == "open")
    @rule()
    def others_sweep(self) -> None:
        # Leases outlast what is granted from them by far: it has been posted by then.
        for at in (0, 1):
            self.look_after(at, 0)
            self.post(at, twice=False)
        if not any(it.granted for it in self.processes):
            for request_id in list(self.ledger.book.holds):
                self.ledger.book.run(Expire(request_id, self.clock.now()))

    @invariant()
    def no_limit_is_passed(self) -> None:
        for account in ACCOUNTS:
            line = self.ledger.book.lines[account.key]
            assert 0 <= line.posted + line.pending <= account.budget.limit

    @invariant()
    def what_a_process_granted_is_held_for_it(self) -> None:
        for it in self.processes:
            open_ids = [each for each in it.granted if self._posted(each) is None]
            taken = Spend(sum(self.truth[each] for each in open_ids), 0, len(open_ids))
            for _, metric, lease in it.book.leases_of(ACCOUNTS):
                assert taken.of(metric) <= self._held(lease)

    def _held(self, lease: str | None) -> int:
        hold = self.ledger.book.holds.get(lease or "")
        is_held = hold is not None and hold.state is HoldState.PENDING
        return hold.entries[0].held if hold is not None and is_held else 0

    def _posted(self, request_id: str) -> int | None:
        hold = self.ledger.book.holds.get(request_id)
        is_settled = hold is not None and hold.state is HoldState.SETTLED
        return hold.posted.tokens if hold is not None and is_settled else None

    def teardown(self) -> None:
        """Whatever became of them, in the end each call is posted, and nothing is held."""
        try:
            self.ledger.way = "open"
            for at in (0, 1):
                self.processes[at].journal.close()
            last = self._new()
            self.loop.run_until_complete(last.leases.look_after(self.ledger))
            self.loop.run_until_complete(last.leases.close(self.ledger))
            assert {each: self._posted(each) for each in self.truth} == self.truth
            assert [self.ledger.book.lines[it.key].pending for it in ACCOUNTS] == [0, 0]
            assert not list(Path(self.folder.name).iterdir())
        finally:
            self.loop.close()
            self.folder.cleanup()


LeaseMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
test_leases_under_any_history_pass_no_limit_and_lose_no_call = LeaseMachine.TestCase


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def leased(tmp_path: Path, clock: FakeClock, ledger: Ledger) -> Process:
    """A process with a twentieth of 400 tokens and of 60 calls."""
    it = process(tmp_path, "one", clock)
    it.leases.note(ACCOUNTS)
    asyncio.run(it.leases.look_after(ledger))
    return it


def granted(it: Process, request_id: str, tokens: int) -> bool:
    try:
        asyncio.run(it.leases.grant(wish(request_id, tokens)))
    except DatabaseUnavailableError:
        return False
    return True


def test_lease_is_granted_to_its_end_and_no_further(leased: Process) -> None:
    assert [granted(leased, "a", 12), granted(leased, "b", 8), granted(leased, "c", 1)] == [
        True,
        True,
        False,
    ]


def test_call_is_granted_only_where_every_budget_has_room(leased: Process) -> None:
    # Of the person's own 60 calls three are leased.
    assert [granted(leased, name, 1) for name in "abcd"] == [True, True, True, False]


def test_lease_that_was_not_renewed_for_ten_minutes_grants_nothing(
    leased: Process, clock: FakeClock
) -> None:
    clock.advance(GRANTS_FOR_S + 1)

    assert not granted(leased, "a", 1)


def test_posted_call_is_taken_out_of_its_lease(leased: Process, ledger: Ledger) -> None:
    assert granted(leased, "a", 13)
    post = leased.leases.end(Settle("a", Spend(11, 0)))
    assert post is not None

    asyncio.run(ledger.run(post))

    assert ledger.book.lines[SHARED.key] == Line(posted=11, pending=9)


def test_lease_is_what_it_was_after_a_question_that_was_never_put(
    leased: Process, ledger: Ledger, clock: FakeClock
) -> None:
    clock.advance(RENEWED_EVERY_S)
    ledger.way = "away"

    asyncio.run(leased.leases.look_after(ledger))

    assert granted(leased, "a", 20)


def test_lease_is_half_of_it_while_nobody_heard_what_became_of_it(
    leased: Process, ledger: Ledger, clock: FakeClock
) -> None:
    clock.advance(RENEWED_EVERY_S)
    ledger.way = "silent"

    asyncio.run(leased.leases.look_after(ledger))
    asyncio.run(leased.leases.look_after(ledger))

    assert [granted(leased, "a", 11), granted(leased, "b", 10)] == [False, True]


def test_lease_that_shrank_unheard_is_no_less_than_its_process_goes_by(
    leased: Process, ledger: Ledger, clock: FakeClock
) -> None:
    ledger.book.run(wish("others", 370))
    clock.advance(RENEWED_EVERY_S)
    ledger.way = "answer lost"

    asyncio.run(leased.leases.look_after(ledger))

    assert ledger.book.lines[SHARED.key].pending == 370 + 10
    assert [granted(leased, "a", 11), granted(leased, "b", 10)] == [False, True]


def test_call_given_back_leaves_its_lease_to_the_next(leased: Process) -> None:
    assert granted(leased, "a", 20)

    assert leased.leases.end(Release("a")) is None
    assert granted(leased, "b", 20)


def test_grant_is_refused_when_the_journal_cannot_be_written(
    leased: Process, tmp_path: Path
) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    for link in Path("/proc/self/fd").iterdir():
        if link.is_symlink() and link.readlink() == tmp_path / "one.leases":
            os.dup2(full, int(link.name))
    os.close(full)

    assert not granted(leased, "a", 1)


def test_journal_with_a_torn_last_line_is_taken_over(
    leased: Process, ledger: Ledger, tmp_path: Path, clock: FakeClock
) -> None:
    assert granted(leased, "a", 13)
    leased.journal.close()
    with (tmp_path / "one.leases").open("ab") as file:
        file.write(b'{"granted": {"request_')

    asyncio.run(process(tmp_path, "two", clock).leases.look_after(ledger))

    assert ledger.book.holds["a"].posted == Spend(13, 0)
    assert ledger.book.lines[SHARED.key] == Line(posted=13)


def test_idle_account_gives_its_lease_back(
    leased: Process, ledger: Ledger, clock: FakeClock
) -> None:
    assert ledger.book.lines[SHARED.key].pending == 20
    clock.advance(GRANTS_FOR_S + 1)

    asyncio.run(leased.leases.look_after(ledger))

    assert ledger.book.lines[SHARED.key].pending == 0
