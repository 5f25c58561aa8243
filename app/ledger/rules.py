"""Which budgets bind a call, and by how much it would draw on each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from app.config.catalog import Limit
from app.ledger.periods import Window, window_at

SCOPES = ("global", "team", "user", "key", "model")
METRICS = ("tokens", "cost", "requests")
MODES = ("enforce", "shadow")
# A budget of this subject is one for each user, team, key or model that has none of its own.
EVERYBODY = "*"
# Of so many callers and models together the lines are remembered.
MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Raise:
    """More for one subject of a budget, from a moment to another."""

    subject: str
    amount: int
    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """One rule; ``limit`` is in tokens, micro-USD or requests."""

    id: int
    scope: str
    subject: str
    metric: str
    period: str
    limit: int
    mode: str
    raises: tuple[Raise, ...] = ()

    @property
    def is_enforced(self) -> bool:
        return self.mode == "enforce"

    def has_raise_of(self, subject: str) -> bool:
        return any(it.subject == subject for it in self.raises)

    def raised(self, subject: str, at: datetime) -> Budget:
        """Return the budget as it is for a subject at that moment."""
        more = sum(
            it.amount
            for it in self.raises
            if it.subject == subject and it.begins_at <= at < it.ends_at
        )
        return replace(self, limit=self.limit + more) if more else self


def place_of(limit: Limit) -> tuple[str, str]:
    """Return the scope and the subject of a budget that the configuration sets."""
    if limit.each:
        return limit.each, EVERYBODY
    return ("model", limit.model) if limit.model else ("global", "")


@dataclass(frozen=True, slots=True)
class Payer:
    """Whom a call is charged to, in every scope; None where there is nobody."""

    user: str | None
    team: str | None
    key: str | None
    # A trusted key speaks for many people: what is spent through it is not one caller's.
    is_key_shared: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """One line of the ledger: a budget, whose it is, and its present period."""

    budget: Budget
    subject: str
    window: Window
    # Nobody but the caller draws on it, so that its figures are nobody else's.
    is_own: bool = False

    @property
    def key(self) -> tuple[int, str, datetime]:
        """Return what identifies it, in the order in which lines are locked."""
        return (self.budget.id, self.subject, self.window.start)


def accounts_for(
    budgets: Iterable[Budget],
    payer: Payer,
    models: Sequence[str],
    at: datetime,
    zone: ZoneInfo,
) -> list[Account]:
    """Return every line that a call draws on. ``models``: the model, and the groups it is in."""
    subjects = {
        "global": ("",),
        "team": (payer.team,) if payer.team else (),
        "user": (payer.user,) if payer.user else (),
        "key": (payer.key,) if payer.key else (),
        "model": tuple(models),
    }
    chosen: dict[tuple[str, str, str, str], Budget] = {}
    for budget in budgets:
        for subject in subjects[budget.scope]:
            # A group is no model of its own: it is bound where it is named.
            is_group = budget.scope == "model" and subject != models[0]
            if budget.subject != subject and (is_group or budget.subject != EVERYBODY):
                continue
            slot = (budget.scope, subject, budget.metric, budget.period)
            # One of their own stands before the one for everybody.
            if slot not in chosen or budget.subject == subject:
                chosen[slot] = budget
    return sorted(
        (
            Account(
                budget.raised(subject, at),
                subject,
                window_at(budget.period, at, zone),
                budget.scope == "user" or (budget.scope == "key" and not payer.is_key_shared),
            )
            for (_, subject, _, _), budget in chosen.items()
        ),
        key=lambda account: account.key,
    )


class AccountFinder:
    """`accounts_for`, remembering its answers while budgets and periods are the same."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._budgets: Sequence[Budget] = ()
        self._known: dict[tuple[Payer, tuple[str, ...]], tuple[Account, ...]] = {}

    def find(
        self, budgets: Sequence[Budget], payer: Payer, models: tuple[str, ...], at: datetime
    ) -> tuple[Account, ...]:
        """``budgets`` must be another list whenever they are others."""
        if budgets is not self._budgets or len(self._known) >= MAX_KNOWN:
            self._budgets, self._known = budgets, {}
        accounts = self._known.get((payer, models))
        if accounts is None or not all(it.window.start <= at < it.window.end for it in accounts):
            accounts = tuple(accounts_for(budgets, payer, models, at, self._zone))
            # A raise begins and ends at its own moments.
            if not any(it.budget.has_raise_of(it.subject) for it in accounts):
                self._known[payer, models] = accounts
        return accounts
