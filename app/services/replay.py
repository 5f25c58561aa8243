"""A period once more, under other prices or other budgets; no I/O, nothing is changed.

The ledger's own rules decide: whom a budget binds, when its period begins, whether there is room,
what a model costs. Each call is judged by what it really took. The ledger holds more than that
before a call is made, so that it may stop somebody a little earlier than is said here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.audit.calls import PastCall
from app.config.catalog import Catalog
from app.ledger.book import Book, Line, LineKey, Post, Spend
from app.ledger.rules import Account, AccountFinder, Budget, Payer
from app.services.token_service import cost_of

UNKNOWN_MODEL = "(unknown)"
# So many lines are kept before those whose period is over are looked for.
MANY_LINES = 10_000


@dataclass(slots=True)
class ModelSpend:
    """What a model's calls cost, and what they would have cost; in micro-USD."""

    model: str
    calls: int = 0
    tokens: int = 0
    cost_micro_usd: int = 0
    replayed_micro_usd: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Stop:
    """A budget, and somebody who would have come to its end."""

    budget: Budget
    subject: str
    first_at: datetime
    first_request_id: str
    refused_calls: int = 0
    periods: set[datetime] = field(default_factory=set)

    def as_dict(self) -> dict[str, Any]:
        return {
            "scope": self.budget.scope,
            "subject": self.subject,
            "metric": self.budget.metric,
            "period": self.budget.period,
            "limit": self.budget.limit,
            "mode": self.budget.mode,
            "first_at": self.first_at,
            "first_request_id": self.first_request_id,
            "refused_calls": self.refused_calls,
            "periods": len(self.periods),
        }


@dataclass(slots=True)
class Replayed:
    """``replayed_micro_usd`` is of all calls; ``refused_…`` of those that would not have been."""

    calls: int = 0
    tokens: int = 0
    cost_micro_usd: int = 0
    replayed_micro_usd: int = 0
    # Their cost is as it was: no tokens were counted, or the price table has no such model.
    unpriced_calls: int = 0
    refused_calls: int = 0
    refused_tokens: int = 0
    refused_micro_usd: int = 0
    models: dict[str, ModelSpend] = field(default_factory=dict)
    # In the order in which they would have happened.
    stops: dict[tuple[int, str], Stop] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        amounts = {name: getattr(self, name) for name in self.__slots__[:-2]}
        return {
            **amounts,
            "models": [self.models[name].as_dict() for name in sorted(self.models)],
            "stopped": [stop.as_dict() for stop in self.stops.values()],
        }


class Replay:
    """One period; calls must come in the order of their time."""

    def __init__(
        self,
        catalog: Catalog,
        prices: Catalog | None,
        budgets: Sequence[Budget],
        zone: ZoneInfo,
        many_lines: int = MANY_LINES,
    ) -> None:
        """``catalog`` has the groups of models that budgets may be of; without ``prices`` every
        call costs what it did."""
        self._catalog = catalog
        self._prices = prices
        self._budgets = budgets
        self._finder = AccountFinder(zone)
        self._book = Book()
        self._ends: dict[LineKey, datetime] = {}
        self._least = self._many = many_lines
        self._found = Replayed()

    def run(self, calls: Iterable[PastCall]) -> Replayed:
        for call in calls:
            # What was given back was not billed, and is on no budget.
            if call.tokens or call.cost_micro_usd:
                self._replay(call)
        return self._found

    def _replay(self, call: PastCall) -> None:
        spend = Spend(call.tokens, self._cost(call))
        self._count(call, spend)
        model = call.model or UNKNOWN_MODEL
        names = self._catalog.budgeted_names(model)
        payer = Payer(call.user, call.team, call.key)
        accounts = self._finder.find(self._budgets, payer, names, call.at)
        self._open(accounts, call.at)
        short = self._book.without_room(accounts, spend)
        for account in short:
            self._note(account, call)
        if any(account.budget.is_enforced for account in short):
            self._found.refused_calls += 1
            self._found.refused_tokens += spend.tokens
            self._found.refused_micro_usd += spend.cost_micro_usd
        else:
            self._post(call, model, accounts, spend)

    def _cost(self, call: PastCall) -> int:
        if self._prices is None:
            return call.cost_micro_usd
        model = self._prices.models.get(call.model or "")
        if call.usage is None or model is None:
            self._found.unpriced_calls += 1
            return call.cost_micro_usd
        return cost_of(model, call.usage)

    def _count(self, call: PastCall, spend: Spend) -> None:
        found, name = self._found, call.model or UNKNOWN_MODEL
        of_model = found.models.setdefault(name, ModelSpend(name))
        for it in (found, of_model):
            it.calls += 1
            it.tokens += call.tokens
            it.cost_micro_usd += call.cost_micro_usd
            it.replayed_micro_usd += spend.cost_micro_usd

    def _open(self, accounts: Iterable[Account], at: datetime) -> None:
        if len(self._ends) >= self._many:
            self._forget(at)
        for account in accounts:
            if account.key not in self._ends:
                self._book.lines[account.key] = Line()
                self._ends[account.key] = account.window.end

    def _forget(self, at: datetime) -> None:
        """Drop the lines whose period is over: no later call comes to them."""
        for key in [key for key, end in self._ends.items() if end <= at]:
            del self._book.lines[key], self._ends[key]
        self._many = max(self._least, 2 * len(self._ends))

    def _note(self, account: Account, call: PastCall) -> None:
        place = (account.budget.id, account.subject)
        stop = self._found.stops.get(place)
        if stop is None:
            stop = Stop(account.budget, account.subject, call.at, call.request_id)
            self._found.stops[place] = stop
        stop.refused_calls += 1
        stop.periods.add(account.window.start)

    def _post(self, call: PastCall, model: str, accounts: Iterable[Account], spend: Spend) -> None:
        charges = tuple((it.key, it.budget.metric, None) for it in accounts)
        self._book.run(Post(call.request_id, model, charges, spend, is_estimated=False, at=call.at))
        # The lines are all that is asked for.
        self._book.holds.clear()
        self._book.changed_holds.clear()
        self._book.changed_lines.clear()
