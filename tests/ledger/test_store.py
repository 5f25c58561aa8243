"""Batches on a real Postgres; two stores are two processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine

from app.ledger.book import (
    Demand,
    Expire,
    Granted,
    HoldState,
    Operation,
    Reserve,
    Resolved,
    Settle,
    Spend,
)
from app.ledger.periods import PERIODS, Window
from app.ledger.rules import Account
from app.ledger.standings import BudgetFilter, page_of_standings
from app.ledger.store import LedgerStore

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DEMAND = Demand(10, 90, 1, input_price=0, output_price=0, is_flexible=False)


@pytest.fixture
def open_store(clean_database: str) -> Iterator[Callable[[], LedgerStore]]:
    engine = create_engine(clean_database)
    stores: list[LedgerStore] = []

    def open_one() -> LedgerStore:
        stores.append(LedgerStore(engine))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()
    engine.dispose()


def account(store: LedgerStore, user: str = "ana", start: datetime = NOW) -> Account:
    budget = store.set_budget("user", user, "tokens", "day", 1000, "enforce")
    return Account(budget, user, Window(start, start + DAY))


def reserve(request_id: str, *accounts: Account, model: str = "gpt-4o") -> Reserve:
    return Reserve(request_id, model, accounts, DEMAND, NOW)


def sums(store: LedgerStore, it: Account) -> tuple[int, int]:
    starts = dict.fromkeys(PERIODS, it.window.start)
    wanted = BudgetFilter(subject=it.subject, budget=it.budget.id)
    with store.asking() as cursor:
        (found,) = page_of_standings(cursor, starts, NOW, wanted, limit=2)
    return found.line.posted, found.line.pending


def test_hold_of_another_process_is_settled_on_its_lines(
    open_store: Callable[[], LedgerStore],
) -> None:
    one, other = open_store(), open_store()
    ana = account(one)
    one.apply([reserve("a", ana)])

    other.apply([Settle("a", Spend(60, 0))])

    assert sums(one, ana) == (60, 0)


def test_hold_that_another_process_expired_is_not_posted_twice(
    open_store: Callable[[], LedgerStore],
) -> None:
    one, other = open_store(), open_store()
    ana = account(one)
    one.apply([reserve("a", ana)])
    other.apply([Expire("a")])

    one.apply([Settle("a", Spend(60, 0))])

    # Nobody had said what it took: all of it, and a late word takes nothing back.
    assert sums(one, ana) == (100, 0)


def test_call_that_moves_to_another_model_leaves_nothing_on_lines_of_the_first(
    open_store: Callable[[], LedgerStore],
) -> None:
    one, other = open_store(), open_store()
    ana, bia = account(one), account(one, "bia")
    one.apply([reserve("a", ana)])

    other.apply([reserve("a", bia, model="gpt-4")])

    assert (sums(one, ana), sums(one, bia)) == ((0, 0), (0, 100))


def test_first_calls_of_a_period_open_its_lines(open_store: Callable[[], LedgerStore]) -> None:
    store = open_store()
    today = account(store)
    tomorrow = Account(today.budget, "ana", Window(NOW + DAY, NOW + 2 * DAY))
    store.apply([reserve("a", today)])

    store.apply([reserve("b", tomorrow), reserve("c", today), Settle("a", Spend(60, 0))])

    assert (sums(store, today), sums(store, tomorrow)) == ((60, 100), (0, 100))


def test_repeated_operations_say_what_came_of_the_first(
    open_store: Callable[[], LedgerStore],
) -> None:
    store = open_store()
    ana = account(store)
    end = Settle("a", Spend(60, 7), is_estimated=True)
    batch: list[Operation] = [reserve("a", ana), reserve("a", ana), end]
    store.apply(batch)

    first, _, last = store.apply(batch)

    assert isinstance(first, Resolved)
    assert isinstance(last, Resolved)
    assert last.hold is not None
    assert (last.hold.state, last.hold.posted) == (HoldState.SETTLED, Spend(60, 7))
    assert last.hold.is_estimated
    assert sums(store, ana) == (60, 0)


def test_batch_that_fails_leaves_nothing(open_store: Callable[[], LedgerStore]) -> None:
    store = open_store()
    ana = account(store)
    nobodys = reserve("b", Account(ana.budget, "a name with a \0 in it", ana.window))
    with pytest.raises(Exception, match=r"0x00|\\u0000|NUL"):
        store.apply([reserve("a", ana), nobodys])

    assert store.apply([reserve("c", ana)]) == [Granted(90)]
    assert sums(store, ana) == (0, 100)
