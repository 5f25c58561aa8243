"""The ledger on Postgres under any history: after each step the database itself is asked whether
every promise still holds, and compared with what a plain account of the same history says.

10,000 steps and more, each a transaction or several: one operation or a batch, two processes at
once, a connection that dies before or after its commit, clocks that jump.
"""

from __future__ import annotations

import copy
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg2.extensions import connection as PostgresConnection  # noqa: N812  # lower case
from psycopg2.extensions import cursor as PostgresCursor  # noqa: N812  # lower case
from sqlalchemy import Engine, create_engine

from app.ledger.book import (
    Adjust,
    Checkpoint,
    Demand,
    Expire,
    LineKey,
    Operation,
    Outcome,
    Release,
    Reserve,
    Settle,
    Spend,
)
from app.ledger.rules import Budget, Payer, accounts_for
from app.ledger.store import LedgerStore
from app.utils.exceptions import DatabaseUnavailableError
from tests.ledger.truth import NO_SUCH_HOLD, Said, Sums, Truth, said

EXAMPLES, STEPS_EACH, STEPS_AT_LEAST = 280, 50, 10_000
ZONE = ZoneInfo("America/Sao_Paulo")
LIFETIME = timedelta(seconds=30)
# Half an hour before a month ends there, so that jumps cross the ends of all periods.
START = datetime(2026, 12, 1, 2, 30, tzinfo=UTC)

LINES = """
    SELECT budget_id, subject, period_start, posted, pending, would_refuse, credited
    FROM budget_lines
"""
HOLDS = "SELECT request_id, state, posted, entries, credited FROM holds"

IDS = st.sampled_from([f"call-{number}" for number in range(12)])
PEOPLE = st.sampled_from(["ana", "bia"])
DEMANDS = st.builds(
    Demand,
    input_tokens=st.integers(0, 60),
    output_tokens=st.integers(1, 200),
    choices=st.integers(1, 3),
    input_price=st.sampled_from([0, 500_000, 3_000_000]),
    output_price=st.sampled_from([0, 1_500_000, 15_000_000]),
    is_flexible=st.booleans(),
)
SPENDS = st.builds(
    Spend,
    tokens=st.integers(0, 700),
    cost_micro_usd=st.integers(0, 9_000),
    requests=st.sampled_from([1, 1, 1, 0]),
)


@dataclass(frozen=True)
class Wish:
    """A reservation before it is known at what time, and on which budgets."""

    request_id: str
    model: str
    user: str
    demand: Demand


@dataclass(frozen=True)
class SettleAt:
    """A settlement at a part of what is held: below it, exactly it, above it."""

    request_id: str
    percent: int


Wished = Wish | SettleAt | Settle | Adjust | Release | Expire | tuple[str, Spend | None]
OPERATIONS: st.SearchStrategy[Wished] = st.one_of(
    st.builds(Wish, IDS, st.sampled_from(["large", "small"]), PEOPLE, DEMANDS),
    st.builds(Wish, IDS, st.sampled_from(["large", "small"]), PEOPLE, DEMANDS),
    st.builds(SettleAt, IDS, st.sampled_from([30, 100, 100, 130])),
    st.builds(Settle, IDS, SPENDS, is_estimated=st.booleans()),
    st.builds(Adjust, IDS, SPENDS),
    st.builds(Release, IDS),
    st.builds(Expire, IDS),
    st.tuples(IDS, st.one_of(st.none(), SPENDS)),
)
BATCHES = st.lists(OPERATIONS, min_size=2, max_size=5)
# Around a commit.
WHENS = st.sampled_from(["before", "after"])


class BreakableConnection(PostgresConnection):
    """A connection that can be made to die around its next commit: ``dying`` says before or after,
    and so of the connections that come after it."""

    dying: list[str]

    def break_down(self) -> None:
        with socket.socket(fileno=os.dup(self.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


class BreakableCursor(PostgresCursor):
    """Of a `BreakableConnection`."""

    def execute(self, query: Any, parameters: Any = None) -> None:
        connection = self.connection
        assert isinstance(connection, BreakableConnection)
        when = None
        if str(query).endswith("COMMIT"):
            when = connection.dying.pop(0) if connection.dying else None
        if when == "before":
            connection.break_down()
        super().execute(query, parameters)
        if when == "after":
            connection.break_down()
            # libpq would notice at the next statement; the answer to the commit is what is lost.
            raise psycopg2.OperationalError("server closed the connection unexpectedly")


class Process:
    """One process's way to the ledger."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(url, creator=self._connect, pool_size=1)
        self._url = url.replace("postgresql+psycopg2://", "postgresql://")
        self._dying: list[str] = []
        self.store = LedgerStore(self._engine)

    def _connect(self) -> BreakableConnection:
        connection: BreakableConnection = psycopg2.connect(
            self._url, connection_factory=BreakableConnection, cursor_factory=BreakableCursor
        )
        connection.dying = self._dying
        return connection

    def will_die(self, *whens: str) -> None:
        """Have the next connections die around their commits, the one that is there first."""
        self.store.budgets()
        self._dying += whens

    def apply_and_die(self, operations: Sequence[Operation], *whens: str) -> None:
        self.will_die(*whens)
        with pytest.raises(DatabaseUnavailableError):
            self.store.apply(operations)
        assert not self._dying, "it never came to its commit"

    def close(self) -> None:
        self.store.close()
        self._engine.dispose()


class Database:
    """Two processes and somebody who looks on, kept over all examples; and the count of steps."""

    def __init__(self, url: str) -> None:
        self.one, self.other = Process(url), Process(url)
        self._observer = psycopg2.connect(url.replace("postgresql+psycopg2://", "postgresql://"))
        self._observer.autocommit = True
        self.pool = ThreadPoolExecutor(2)
        self.steps = 0

    def empty(self) -> None:
        with self._observer.cursor() as cursor:
            cursor.execute("DELETE FROM holds; DELETE FROM budget_lines; DELETE FROM budgets")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self._observer.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def sums(self) -> dict[LineKey, Sums]:
        return {
            (budget_id, subject, start): (posted, pending, would_refuse, credited)
            for budget_id, subject, start, posted, pending, would_refuse, credited in self.rows(
                LINES
            )
        }

    def close(self) -> None:
        self.pool.shutdown()
        for process in (self.one, self.other):
            process.close()
        self._observer.close()


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.one, self.other = database.one.store, database.other.store
        self.now = START
        self.truth = Truth()
        self.budgets: list[Budget] = []
        # A call that is made again is the same call.
        self.wishes: dict[tuple[str, str], Wish] = {}
        self.seen: dict[str, tuple[str, list[int]]] = {}
        self.posted: dict[LineKey, int] = {}

    @initialize(
        tokens=st.integers(100, 2_000), cost=st.integers(500, 20_000), requests=st.integers(1, 9)
    )
    def begin(self, tokens: int, cost: int, requests: int) -> None:
        self.database.empty()
        make = self.one.set_budget
        self.budgets = [
            make("global", "", "cost", "month", cost, "enforce"),
            make("user", "*", "tokens", "day", tokens, "enforce"),
            make("user", "*", "requests", "minute", requests, "enforce"),
            make("model", "small", "tokens", "week", tokens * 2, "enforce"),
            make("global", "", "tokens", "hour", tokens // 2, "shadow"),
        ]

    @rule(wished=OPERATIONS)
    def one_operation(self, wished: Wished) -> None:
        self._apply(self.one, self._operations([wished]))

    @rule(wished=BATCHES)
    def batch(self, wished: list[Wished]) -> None:
        self._apply(self.other, self._operations(wished))

    @rule(wished=BATCHES)
    def batch_told_again(self, wished: list[Wished]) -> None:
        """The answer was lost, so all of it comes again, to the other process."""
        operations = self._operations(wished)
        self._apply(self.one, operations)
        self._apply(self.other, operations)

    @rule(ours=BATCHES, theirs=BATCHES)
    def two_processes_at_once(self, ours: list[Wished], theirs: list[Wished]) -> None:
        """Whichever was first: nobody can tell from what they hear and what is left behind."""
        one, other = self._operations(ours), self._operations(theirs)
        begun = [
            self.database.pool.submit(store.apply, operations)
            for store, operations in ((self.one, one), (self.other, other))
        ]
        heard = [_all_said(it.result(20)) for it in begun]
        self.truth = self._one_after_the_other(one, other, heard)

    @rule(wished=BATCHES, when=WHENS)
    def connection_dies_once(self, wished: list[Wished], when: str) -> None:
        """The store itself tries again, and nobody hears of it."""
        operations = self._operations(wished)
        self.database.one.will_die(when)
        self._run(operations, when)
        self._apply(self.one, operations)

    @rule(wished=BATCHES, first=WHENS, second=WHENS)
    def connections_die_one_after_the_other(
        self, wished: list[Wished], first: str, second: str
    ) -> None:
        operations = self._operations(wished)
        self.database.one.apply_and_die(operations, first, second)
        self._run(operations, first, second)
        # So all of it comes again, to the other process.
        self._apply(self.other, operations)

    def _run(self, operations: Sequence[Operation], *whens: str) -> None:
        """Have it happen as often as a commit was done, of which nobody heard."""
        for _ in range(whens.count("after")):
            for operation in operations:
                self.truth.run(operation)

    @rule(jump=st.sampled_from([-86_400, -3_600, -60, -1, 1, 29, 31, 60, 1_800, 90_000, 2_700_000]))
    def clock_jumps(self, jump: int) -> None:
        self.now += timedelta(seconds=jump)

    @rule()
    def sweep(self) -> None:
        late = self.other.expired(self.now, 500)
        assert set(late) == self.truth.late(self.now)
        self._apply(self.other, [Expire(request_id) for request_id in late])

    # What must hold after every step.

    @invariant()
    def lines_say_what_happened(self) -> None:
        self.database.steps += 1
        lines, truth = self.database.sums(), self.truth.sums()
        assert {key: sums for key, sums in lines.items() if any(sums)} == {
            key: sums for key, sums in truth.items() if any(sums)
        }

    @invariant()
    def no_enforced_limit_is_passed_but_by_what_was_billed(self) -> None:
        limits = {budget.id: budget for budget in self.budgets}
        for key, (posted, pending, _, credited) in self.database.sums().items():
            if limits[key[0]].mode == "enforce":
                taken = posted + pending - credited
                assert taken <= limits[key[0]].limit + self.truth.overrun[key]

    @invariant()
    def holds_and_lines_agree_and_nothing_shrinks(self) -> None:
        sums = self.database.sums()
        holds = self.database.rows(HOLDS)
        charged, held, given_back = (dict.fromkeys(sums, 0) for _ in range(3))
        for _, state, amounts, entries, credited in holds:
            for key, metric, amount in _drawn(entries):
                index = ("tokens", "cost", "requests").index(metric)
                charged[key] += amounts[index]
                given_back[key] += credited[index] if credited else 0
                held[key] += amount if state == "pending" else 0
                assert amount >= 0
        assert {key: (charged[key], held[key], given_back[key]) for key in sums} == {
            key: (posted, pending, credited) for key, (posted, pending, _, credited) in sums.items()
        }
        for key, (posted, pending, _, credited) in sums.items():
            assert posted >= self.posted.get(key, 0)
            assert pending >= 0
            assert 0 <= credited <= posted
            self.posted[key] = posted
        self._check_resolutions(holds)

    def _check_resolutions(self, holds: Sequence[tuple[Any, ...]]) -> None:
        now = {request_id: (state, posted) for request_id, state, posted, _, _ in holds}
        for request_id, (state, posted) in self.seen.items():
            later, later_posted = now[request_id]
            assert (state, later) in ALLOWED
            is_adjusted = self.truth.calls[request_id].truth is not None
            assert state != "settled" or posted == later_posted or is_adjusted
            assert all(a <= b for a, b in zip(posted, later_posted, strict=True))
        self.seen = now

    def _apply(self, store: LedgerStore, operations: Sequence[Operation]) -> None:
        expected = [self.truth.run(operation) for operation in operations]
        assert _all_said(store.apply(operations)) == expected

    def _one_after_the_other(
        self, one: Sequence[Operation], other: Sequence[Operation], heard: list[list[Said]]
    ) -> Truth:
        """Return the truth of the order that explains what was heard and what is there."""
        left = _drawn_on(self.database.sums())
        ours, theirs = (
            [it for it in zip(operations, words, strict=True) if not self._came_too_early(*it)]
            for operations, words in ((one, heard[0]), (other, heard[1]))
        )
        for history in ((*ours, *theirs), (*theirs, *ours)):
            truth = copy.deepcopy(self.truth)
            told = [truth.run(operation) for operation, _ in history]
            if told == [words for _, words in history] and _drawn_on(truth.sums()) == left:
                return truth
        raise AssertionError(f"no order of {ours} and {theirs} explains {left}")

    def _came_too_early(self, operation: Operation, words: Said) -> bool:
        """Tell whether it found nothing, which changes nothing, whatever came in between."""
        return words == NO_SUCH_HOLD and operation.request_id not in self.truth.calls

    def _operations(self, wished: Sequence[Wished]) -> list[Operation]:
        return [self._operation(it) for it in wished]

    def _operation(self, wished: Wished) -> Operation:
        if isinstance(wished, Wish):
            known = self.wishes.setdefault((wished.request_id, wished.model), wished)
            payer = Payer(known.user, None, None)
            accounts = accounts_for(self.budgets, payer, [known.model], self.now, ZONE)
            return Reserve(
                known.request_id,
                known.model,
                tuple(accounts),
                known.demand,
                self.now + LIFETIME,
                known.user,
            )
        if isinstance(wished, SettleAt):
            return Settle(wished.request_id, self._part(wished))
        if isinstance(wished, tuple):
            request_id, spend = wished
            return Checkpoint(request_id, self.now + LIFETIME, spend)
        return wished

    def _part(self, wished: SettleAt) -> Spend:
        call = self.truth.calls.get(wished.request_id)
        held = call.held if call else {"tokens": 100, "cost": 100}
        return Spend(*(-(-held[metric] * wished.percent // 100) for metric in ("tokens", "cost")))


RESOLVED = ("settled", "released", "expired")
ALLOWED = {
    *((state, state) for state in ("pending", *RESOLVED)),
    *(("pending", state) for state in RESOLVED),
    # A late word of what it took still counts.
    ("released", "settled"),
    ("expired", "settled"),
}


def _all_said(outcomes: Sequence[Outcome]) -> list[Said]:
    return [said(outcome) for outcome in outcomes]


def _drawn_on(sums: dict[LineKey, Sums]) -> dict[LineKey, Sums]:
    return {key: it for key, it in sums.items() if any(it)}


def _drawn(entries: list[list[Any]]) -> Iterator[tuple[LineKey, str, int]]:
    for budget_id, subject, start, metric, amount, _ in entries:
        yield (budget_id, subject, datetime.fromisoformat(start)), metric, amount


@pytest.fixture
def database(clean_database: str) -> Iterator[Database]:
    it = Database(clean_database)
    yield it
    it.empty()
    it.close()


@pytest.mark.timeout(300)
def test_store_under_any_history_keeps_every_promise(
    database: Database, record_property: Callable[[str, object], None]
) -> None:
    # A machine's class is asked for, and only called.
    machine: Any = lambda: StoreMachine(database)  # noqa: E731
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS_EACH,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    sys.stdout.write(f"\n{database.steps} steps, each with every invariant read from Postgres\n")
    record_property("steps", database.steps)
    assert database.steps >= STEPS_AT_LEAST
