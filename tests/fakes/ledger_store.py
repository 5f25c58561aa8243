"""A ledger that keeps its lines and holds in memory; the rules are the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from app.config.catalog import Limit
from app.ledger.book import Book, HoldState, Line, Operation, Outcome, keys_of
from app.ledger.rules import Budget
from app.ledger.store import LedgerStore


class MemoryLedgerStore(LedgerStore):
    """Has no budgets until a test gives it some."""

    def __init__(self, *budgets: Budget) -> None:
        self._budgets = list(budgets)
        self.book = Book()

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        for key in keys_of(operations, self.book.holds):
            self.book.lines.setdefault(key, Line())
        return [self.book.run(operation) for operation in operations]

    def expired(self, now: datetime, at_most: int) -> list[str]:
        holds = self.book.holds.values()
        late = [it.request_id for it in holds if it.expires_at < now]
        return [it for it in late if self.book.holds[it].state is HoldState.PENDING][:at_most]

    def budgets(self) -> list[Budget]:
        return self._budgets

    def add_missing(self, limits: Iterable[Limit]) -> None:
        pass

    def close(self) -> None:
        pass
