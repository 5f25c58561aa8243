"""The ledger's rules, against a model that keeps nothing but the truth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from app.ledger.book import (
    Adjust,
    Book,
    Checkpoint,
    Demand,
    Expire,
    Granted,
    HoldState,
    Line,
    Refused,
    Release,
    Reserve,
    Resolved,
    Settle,
    Spend,
)
from app.ledger.periods import Window
from app.ledger.rules import Account, Budget

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WINDOW = Window(NOW, NOW + timedelta(days=1))
DEMAND = Demand(10, 90, 1, input_price=0, output_price=0, is_flexible=False)


def account(
    limit: int, metric: str = "tokens", mode: str = "enforce", budget_id: int = 1
) -> Account:
    budget = Budget(budget_id, "user", "ana", metric, "day", limit, mode)
    return Account(budget, "ana", WINDOW)


def book_of(*accounts: Account) -> Book:
    return Book(lines={it.key: Line() for it in accounts})


def reserve(request_id: str, *accounts: Account, demand: Demand = DEMAND) -> Reserve:
    return Reserve(request_id, "gpt-4o", accounts, demand, NOW)


def test_hold_that_fits_exactly_is_granted() -> None:
    it = account(100)
    book = book_of(it)

    assert book.run(reserve("a", it)) == Granted(90)
    assert book.left(it) == 0


def test_hold_of_one_token_too_many_is_refused_and_takes_nothing() -> None:
    it = account(99)
    book = book_of(it)

    assert book.run(reserve("a", it)) == Refused(it, 99, 100)
    assert (book.lines[it.key], book.holds) == (Line(), {})


def test_hold_takes_all_budgets_or_none() -> None:
    roomy, tight = account(1000), account(50, budget_id=2)
    book = book_of(roomy, tight)

    assert book.run(reserve("a", roomy, tight)) == Refused(tight, 50, 100)
    assert book.lines[roomy.key] == Line()


def test_shadow_budget_refuses_nobody_and_says_who_would_have_been() -> None:
    shadow = account(50, mode="shadow")
    book = book_of(shadow)

    assert book.run(reserve("a", shadow)) == Granted(90, (shadow,))
    assert book.lines[shadow.key].pending == 100


def test_hold_asked_for_again_is_the_same_hold() -> None:
    it = account(1000)
    book = book_of(it)
    book.run(reserve("a", it))

    assert book.run(reserve("a", it)) == Granted(90)
    assert book.lines[it.key].pending == 100


def test_call_without_a_limit_gets_what_is_left() -> None:
    it = account(60)
    flexible = Demand(10, 4096, 1, input_price=0, output_price=0, is_flexible=True)

    assert book_of(it).run(reserve("a", it, demand=flexible)) == Granted(50)


def test_call_without_a_limit_and_too_little_left_is_refused() -> None:
    it = account(25)
    flexible = Demand(10, 4096, 1, input_price=0, output_price=0, is_flexible=True)

    assert isinstance(book_of(it).run(reserve("a", it, demand=flexible)), Refused)


def test_call_without_a_limit_gets_what_the_money_pays_for() -> None:
    it = account(1_000, "cost")
    flexible = Demand(
        10, 4096, 2, input_price=10_000_000, output_price=30_000_000, is_flexible=True
    )
    book = book_of(it)
    granted = book.run(reserve("a", it, demand=flexible))

    # 100 for the prompt leave 900: two choices of 15 tokens at 30 each; 16 are the least there is.
    assert isinstance(granted, Refused)


@pytest.mark.parametrize(("used", "left"), [(30, 70), (100, 0), (150, -50)])
def test_settlement_posts_what_was_really_used(used: int, left: int) -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))
    book.run(Settle("a", Spend(used, 0)))

    assert (book.left(it), book.lines[it.key]) == (left, Line(posted=used))


def test_settlement_told_twice_counts_once() -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))
    for _ in range(2):
        book.run(Settle("a", Spend(30, 0)))

    assert book.lines[it.key] == Line(posted=30)


def test_release_gives_everything_back() -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))
    book.run(Release("a"))

    assert book.lines[it.key] == Line()


def test_expiry_without_a_checkpoint_charges_all_that_was_held() -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))
    book.run(Expire("a"))

    assert book.lines[it.key] == Line(posted=100)


def test_expiry_charges_the_last_checkpoint() -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))
    book.run(Checkpoint("a", NOW, Spend(40, 0)))
    book.run(Expire("a"))

    assert book.lines[it.key] == Line(posted=40)


@pytest.mark.parametrize(("late", "posted"), [(70, 70), (20, 40)])
def test_settlement_after_expiry_adds_but_never_takes_away(late: int, posted: int) -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))
    book.run(Checkpoint("a", NOW, Spend(40, 0)))
    book.run(Expire("a"))
    book.run(Settle("a", Spend(late, 0)))

    assert book.lines[it.key] == Line(posted=posted)


def test_hold_that_is_resolved_is_not_taken_again() -> None:
    it = account(1000)
    book = book_of(it)
    book.run(reserve("a", it))
    book.run(Settle("a", Spend(30, 0)))
    book.run(reserve("a", it))

    assert book.lines[it.key] == Line(posted=30)


class LedgerMachine(RuleBasedStateMachine):
    """Any history of operations, replays and late words included."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.accounts = (account(300), account(150, "requests", budget_id=2))
        self.shadow = account(50, mode="shadow", budget_id=3)
        self.book = book_of(*self.accounts, self.shadow)
        self.numbers = iter(range(10**9))
        self.posted_before: dict[Any, int] = {}
        self.overrun = 0

    @rule(target=holds, output=st.integers(1, 120), choices=st.integers(1, 3))
    def reserve(self, output: int, choices: int) -> str:
        request_id = str(next(self.numbers))
        demand = Demand(10, output, choices, 0, 0, is_flexible=False)
        self.book.run(reserve(request_id, *self.accounts, self.shadow, demand=demand))
        return request_id

    @rule(request_id=holds)
    def replay(self, request_id: str) -> None:
        if known := self.book.holds.get(request_id):
            demand = Demand(10, known.spend.tokens - 10, 1, 0, 0, is_flexible=False)
            self.book.run(reserve(request_id, *self.accounts, self.shadow, demand=demand))

    @rule(request_id=holds, used=st.integers(0, 400))
    def settle(self, request_id: str, used: int) -> None:
        known = self.book.holds.get(request_id)
        if known and known.state is not HoldState.SETTLED:
            # A provider did bill it, be it more than was held, or after it was given back.
            is_pending = known.state is HoldState.PENDING
            covered = known.spend.tokens if is_pending else known.posted.tokens
            self.overrun += max(0, used - covered)
        self.book.run(Settle(request_id, Spend(used, 0)))

    @rule(request_id=holds)
    def release(self, request_id: str) -> None:
        self.book.run(Release(request_id))

    @rule(request_id=holds, used=st.integers(0, 100))
    def checkpoint(self, request_id: str, used: int) -> None:
        known = self.book.holds.get(request_id)
        if known and used <= known.spend.tokens:
            self.book.run(Checkpoint(request_id, NOW, Spend(used, 0)))

    @rule(request_id=holds)
    def expire(self, request_id: str) -> None:
        self.book.run(Expire(request_id))

    @invariant()
    def no_limit_is_passed_but_by_what_was_billed(self) -> None:
        tokens = self.accounts[0]
        line = self.book.lines[tokens.key]
        assert line.posted + line.pending <= tokens.budget.limit + self.overrun

    @invariant()
    def pending_is_what_the_open_holds_have(self) -> None:
        for key, line in self.book.lines.items():
            held = sum(
                entry.held
                for hold in self.book.holds.values()
                if hold.state is HoldState.PENDING
                for entry in hold.entries
                if entry.key == key
            )
            assert line.pending == held >= 0

    @invariant()
    def posted_is_what_the_holds_were_charged_and_never_shrinks(self) -> None:
        for key, line in self.book.lines.items():
            charged = sum(
                hold.posted.of(entry.metric)
                for hold in self.book.holds.values()
                for entry in hold.entries
                if entry.key == key
            )
            assert line.posted == charged
            assert line.posted >= self.posted_before.get(key, 0)
            self.posted_before[key] = line.posted


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
test_ledger_under_any_history_keeps_its_invariants = LedgerMachine.TestCase


def estimated(book: Book, it: Account, tokens: int) -> None:
    book.run(reserve("a", it))
    book.run(Settle("a", Spend(tokens, 0), is_estimated=True))


@pytest.mark.parametrize(
    ("tokens", "posted", "credited"), [(90, 90, 0), (60, 60, 0), (20, 60, 40), (0, 60, 60)]
)
def test_adjustment_leaves_room_for_what_it_really_was(
    tokens: int, posted: int, credited: int
) -> None:
    it = account(100)
    book = book_of(it)
    estimated(book, it, 60)

    book.run(Adjust("a", Spend(tokens, 0)))

    line = book.lines[it.key]
    assert (line.posted, line.credited, book.left(it)) == (posted, credited, 100 - tokens)


def test_adjustment_that_comes_again_changes_nothing() -> None:
    it = account(100)
    book = book_of(it)
    estimated(book, it, 60)

    for tokens in (20, 90, 20):
        book.run(Adjust("a", Spend(tokens, 0)))

    assert book.left(it) == 80


def test_adjustment_of_what_was_counted_changes_nothing() -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))
    book.run(Settle("a", Spend(60, 0)))

    book.run(Adjust("a", Spend(20, 0)))

    assert book.left(it) == 40


def test_adjustment_of_a_call_under_way_changes_nothing() -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))

    outcome = book.run(Adjust("a", Spend(20, 0)))

    assert (book.left(it), book.holds["a"].state) == (0, HoldState.PENDING)
    assert outcome == Resolved(book.holds["a"])


def test_late_settlement_after_an_adjustment_changes_nothing() -> None:
    it = account(100)
    book = book_of(it)
    book.run(reserve("a", it))
    book.run(Expire("a"))
    book.run(Adjust("a", Spend(20, 0)))

    book.run(Settle("a", Spend(70, 0)))

    assert book.left(it) == 80
