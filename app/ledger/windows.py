"""Budgets so short that they need not outlive a restart: the rules of the book, without its record.

In words that a script in Redis can follow: what an account is charged is a straight line over the
output tokens of a choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from app.ledger.book import (
    Book,
    Demand,
    Entry,
    Granted,
    Line,
    LineKey,
    Refused,
    Release,
    Reserve,
    Settle,
    Spend,
)
from app.ledger.rules import Account
from app.utils.helpers import TOKENS_PER_PRICE


@dataclass(frozen=True, slots=True)
class Rate:
    """What is charged for ``n`` output tokens of a choice: ⌈(base + n · per_output) / scale⌉."""

    base: int
    per_output: int
    scale: int = 1


def rate_of(metric: str, demand: Demand) -> Rate:
    if metric == "tokens":
        return Rate(demand.input_tokens, demand.choices)
    if metric == "cost":
        return Rate(
            demand.input_tokens * demand.input_price,
            demand.output_price * demand.choices,
            TOKENS_PER_PRICE,
        )
    return Rate(demand.spend(0).of(metric), 0)


def entries_of(accounts: Iterable[Account], spend: Spend) -> tuple[Entry, ...]:
    return tuple(Entry(it.key, it.budget.metric, spend.of(it.budget.metric)) for it in accounts)


def split(accounts: Iterable[Account]) -> tuple[tuple[Account, ...], tuple[Account, ...]]:
    """Return the short ones, and those that must last."""
    short: list[Account] = []
    durable: list[Account] = []
    for account in accounts:
        (short if account.budget.period == "minute" else durable).append(account)
    return tuple(short), tuple(durable)


class OwnWindows:
    """One worker's part of the short budgets, in memory."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._book = Book()
        self._ends: dict[LineKey, datetime] = {}

    def take(self, wish: Reserve, now: datetime) -> Granted | Refused:
        """As the book does, of this worker's part; what it returns is said of the whole budgets."""
        self._forget(now)
        for account in wish.accounts:
            self._book.lines.setdefault(account.key, Line())
            self._ends[account.key] = account.window.end
        parts = tuple(self._part(account) for account in wish.accounts)
        whole = {account.key: account for account in wish.accounts}
        # Nothing else comes: holds that are resolved are forgotten at once.
        outcome = cast("Granted | Refused", self._book.run(replace(wish, accounts=parts)))
        standings = tuple(replace(it, account=whole[it.account.key]) for it in outcome.standings)
        if isinstance(outcome, Refused):
            return replace(outcome, account=whole[outcome.account.key], standings=standings)
        shadows = tuple(whole[it.key] for it in outcome.would_refuse)
        return replace(outcome, would_refuse=shadows, standings=standings)

    def settle(self, hold_id: str, spend: Spend) -> None:
        self._book.run(Settle(hold_id, spend))
        self._book.holds.pop(hold_id, None)

    def release(self, hold_id: str) -> None:
        self._book.run(Release(hold_id))
        self._book.holds.pop(hold_id, None)

    def _part(self, account: Account) -> Account:
        budget = account.budget
        part = budget.limit // self._workers
        if budget.metric == "requests":
            part = min(max(part, 1), budget.limit)
        return replace(account, budget=replace(budget, limit=part))

    def _forget(self, now: datetime) -> None:
        """Drop the windows that are over, once nobody holds anything in them."""
        over = [key for key, end in self._ends.items() if end <= now]
        for key in over:
            if not self._book.lines[key].pending:
                del self._book.lines[key], self._ends[key]
        self._book.changed_lines.clear()
        self._book.changed_holds.clear()
