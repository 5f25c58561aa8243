"""What the ledger must say, worked out the plain way: from all that has happened, summed anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from app.ledger.book import (
    LEAST_OUTPUT_TOKENS,
    Adjust,
    Checkpoint,
    Demand,
    Expire,
    Granted,
    LineKey,
    Operation,
    Outcome,
    Refused,
    Release,
    Reserve,
    Resolved,
    Settle,
    Spend,
)
from app.ledger.rules import Account

Amounts = dict[str, int]
# (posted, pending, would refuse, credited)
Sums = tuple[int, int, int, int]
# What an outcome says, and nothing of how.
Said = tuple[object, ...]
NO_SUCH_HOLD: Said = ("no such hold",)
KNOWN: Said = ("known",)


@dataclass
class Call:
    """One call: where it draws, what it holds there, what it was charged."""

    model: str
    accounts: tuple[Account, ...]
    held: Amounts
    output_tokens: int
    expires_at: datetime
    state: str = "pending"
    at_least: Amounts | None = None
    charged: Amounts = field(default_factory=lambda: {"tokens": 0, "cost": 0, "requests": 0})
    is_estimated: bool = False
    # What it really was, where that came to be known after an estimate.
    truth: Amounts | None = None


@dataclass
class Truth:
    """Every call there was. ``overrun``: by how much settlements were above what was held."""

    calls: dict[str, Call] = field(default_factory=dict)
    overrun: Counter[LineKey] = field(default_factory=Counter)
    would_refuse: Counter[LineKey] = field(default_factory=Counter)

    def run(self, operation: Operation) -> Said:
        if isinstance(operation, Reserve):
            return self._reserve(operation)
        call = self.calls.get(operation.request_id)
        if call is None:
            return NO_SUCH_HOLD
        match operation:
            case Settle() if call.state != "settled":
                self._charge(call, _amounts(operation.spend), "settled")
                call.is_estimated = operation.is_estimated
            case Adjust() if call.is_estimated:
                self._correct(call, _amounts(operation.spend))
            case Release() if call.state == "pending":
                call.state = "released"
            case Checkpoint() if call.state == "pending":
                _sign(call, operation)
            case Expire() if call.state == "pending":
                self._charge(call, call.at_least or call.held, "expired")
                call.is_estimated = True
        return KNOWN

    def _correct(self, call: Call, truth: Amounts) -> None:
        self._charge(call, truth, "settled")
        call.truth, call.is_estimated = truth, False

    def sums(self) -> dict[LineKey, Sums]:
        """Return every line that anything was ever drawn on."""
        posted: Counter[LineKey] = Counter()
        pending: Counter[LineKey] = Counter()
        credited: Counter[LineKey] = Counter()
        for call in self.calls.values():
            for account in call.accounts:
                metric = account.budget.metric
                posted[account.key] += call.charged[metric]
                pending[account.key] += call.held[metric] if call.state == "pending" else 0
                if call.truth is not None:
                    credited[account.key] += call.charged[metric] - call.truth[metric]
        # A call that moved to another model was refused by the first one's shadow all the same.
        drawn_on = posted.keys() | self.would_refuse.keys()
        return {
            key: (posted[key], pending[key], self.would_refuse[key], credited[key])
            for key in drawn_on
        }

    def late(self, now: datetime) -> set[str]:
        return {
            request_id
            for request_id, call in self.calls.items()
            if call.state == "pending" and call.expires_at < now
        }

    def _reserve(self, wish: Reserve) -> Said:
        known = self.calls.get(wish.request_id)
        if known and known.state != "pending":
            return KNOWN
        if known and known.model == wish.model:
            return ("granted", known.output_tokens, ())
        if known:
            # The other model's claim goes first, whatever becomes of this one.
            known.state = "released"
        sums = self.sums()

        def fits(output_tokens: int, account: Account) -> bool:
            posted, pending, _, credited = sums.get(account.key, (0, 0, 0, 0))
            amount = _demanded(wish.demand, output_tokens)[account.budget.metric]
            return posted + pending - credited + amount <= account.budget.limit

        enforced = [it for it in wish.accounts if it.budget.mode == "enforce"]
        output = _largest_output(wish.demand, lambda n: all(fits(n, it) for it in enforced))
        short = [it for it in wish.accounts if not fits(output, it)]
        binding = [it for it in short if it in enforced]
        if binding:
            last = max(it.window.end for it in binding)
            return ("refused", next(it.budget.id for it in binding if it.window.end == last))
        self.would_refuse.update(it.key for it in short)
        held = _demanded(wish.demand, output)
        self.calls[wish.request_id] = Call(wish.model, wish.accounts, held, output, wish.expires_at)
        return ("granted", output, tuple(it.budget.id for it in short))

    def _charge(self, call: Call, amounts: Amounts, state: str) -> None:
        charged = _largest(call.charged, amounts)
        for account in call.accounts:
            metric = account.budget.metric
            covered = call.held[metric] if call.state == "pending" else call.charged[metric]
            self.overrun[account.key] += max(0, charged[metric] - covered)
        call.charged, call.state = charged, state


def said(outcome: Outcome) -> Said:
    """Return what an outcome says, in the words of the truth."""
    if isinstance(outcome, Granted):
        return (
            "granted",
            outcome.output_tokens,
            tuple(it.budget.id for it in outcome.would_refuse),
        )
    if isinstance(outcome, Refused):
        return ("refused", outcome.account.budget.id)
    return KNOWN if isinstance(outcome, Resolved) and outcome.hold else NO_SUCH_HOLD


def _sign(call: Call, sign: Checkpoint) -> None:
    call.expires_at = sign.expires_at
    if sign.spend is not None:
        call.at_least = _largest(call.at_least or {}, _amounts(sign.spend))


def _amounts(spend: Spend) -> Amounts:
    return {"tokens": spend.tokens, "cost": spend.cost_micro_usd, "requests": spend.requests}


def _largest(one: Amounts, other: Amounts) -> Amounts:
    return {metric: max(amount, one.get(metric, 0)) for metric, amount in other.items()}


def _demanded(demand: Demand, output_tokens: int) -> Amounts:
    output = output_tokens * demand.choices
    exact = demand.input_tokens * demand.input_price + output * demand.output_price
    whole, rest = divmod(exact, 1_000_000)
    return {"tokens": demand.input_tokens + output, "cost": whole + (rest > 0), "requests": 1}


def _largest_output(demand: Demand, fits: Callable[[int], bool]) -> int:
    """Return the longest answer that fits, by trying."""
    longest = demand.output_tokens
    if not demand.is_flexible:
        return longest
    shortest = min(LEAST_OUTPUT_TOKENS, longest)
    return next((n for n in range(longest, shortest, -1) if fits(n)), shortest)
