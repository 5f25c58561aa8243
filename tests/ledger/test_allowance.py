"""Which of the caller's own budgets is the tightest, and what it has left."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.ledger.allowance import Allowance, Rest
from app.ledger.book import Book, Demand, Line, Reserve, Spend, Standing
from app.ledger.periods import Window
from app.ledger.rules import Account, Budget, Payer, accounts_for
from tests.ledger.test_book import NOW

TOMORROW, NEXT_WEEK = NOW + timedelta(days=1), NOW + timedelta(days=7)


def standing(
    left: int, *, limit: int = 100, end: datetime = TOMORROW, mode: str = "enforce"
) -> Standing:
    budget = Budget(1, "user", "*", "tokens", "day", limit, mode)
    return Standing(Account(budget, "ana", Window(NOW - timedelta(days=1), end), True), left)


def tightest(*standings: Standing, taken: int = 0) -> Rest | None:
    rests = Allowance(standings, Spend(taken, 0)).rests(NOW)
    return rests[0] if rests else None


@pytest.mark.parametrize(("left", "taken", "shown"), [(50, 20, 30), (50, 50, 0), (-3, 0, 0)])
def test_left_is_what_there_was_without_what_the_call_takes(
    left: int, taken: int, shown: int
) -> None:
    rest = tightest(standing(left), taken=taken)

    assert rest == Rest("tokens", 100, shown, TOMORROW, 24 * 3600)


def test_budget_with_the_least_left_is_the_tightest_whatever_its_limit_and_period() -> None:
    rest = tightest(standing(9, limit=10), standing(8, limit=10**6, end=NEXT_WEEK))

    assert rest is not None
    assert (rest.left, rest.limit) == (8, 10**6)


def test_of_two_with_as_much_left_the_later_renewal_counts() -> None:
    rest = tightest(standing(0, end=NEXT_WEEK), standing(0))

    assert rest is not None
    assert rest.renews_at == NEXT_WEEK


@pytest.mark.parametrize("said", [standing(1, mode="shadow"), standing(1, end=NOW)])
def test_shadow_and_what_is_over_say_nothing(said: Standing) -> None:
    assert tightest(said) is None


@pytest.mark.parametrize(
    ("scope", "is_shared", "is_own"),
    [
        ("user", True, True),
        ("key", False, True),
        ("key", True, False),
        ("team", False, False),
        ("model", False, False),
        ("global", False, False),
    ],
)
def test_ledger_says_how_only_the_callers_own_budgets_stand(
    scope: str, is_shared: bool, is_own: bool
) -> None:
    budget = Budget(1, scope, "" if scope == "global" else "*", "tokens", "day", 100, "enforce")
    payer = Payer("ana", "vendas", "librechat", is_key_shared=is_shared)
    (account,) = accounts_for([budget], payer, ["gpt-4o"], NOW, ZoneInfo("UTC"))
    book = Book(lines={account.key: Line(posted=30)})
    demand = Demand(10, 10, 1, input_price=0, output_price=0, is_flexible=False)

    outcomes = [book.run(Reserve(name, "gpt-4o", (account,), demand, NOW)) for name in "abcd"]

    expected = [(Standing(account, left),) if is_own else () for left in (70, 50, 30, 10)]
    assert [getattr(outcome, "standings", None) for outcome in outcomes] == expected
