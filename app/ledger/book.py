"""The rules of the ledger, on lines and holds that are in memory; no I/O, no clock of its own.

What holds after every operation: a hold is resolved once; what is posted never shrinks; posted
plus pending, less what is credited, passes no enforced limit, except where a settlement is above
its hold, since the provider did bill that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from app.ledger.rules import Account
from app.utils.helpers import TOKENS_PER_PRICE

LineKey = tuple[int, str, datetime]

# More than any call takes, in any metric. What a client's numbers make beyond it would not fit into
# a line, and one line that cannot be saved fails a whole batch of others' calls.
MOST = 2**40
# Fewer tokens than this are no answer; `/v1/responses` takes no lower limit either.
LEAST_OUTPUT_TOKENS = 16
# What stands for the model of a hold that is a lease.
LEASE_MODEL = "(lease)"


class HoldState(Enum):
    PENDING = "pending"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(slots=True)
class Line:
    """One budget, one subject, one period."""

    posted: int = 0
    pending: int = 0
    # Attempts that came here without room, and went on because the budget is a shadow.
    would_refuse: int = 0
    # Of what is posted, what was posted too much on an estimate: room again.
    credited: int = 0


@dataclass(frozen=True, slots=True)
class Spend:
    """An amount in every metric."""

    tokens: int
    cost_micro_usd: int
    requests: int = 1

    def of(self, metric: str) -> int:
        return {
            "tokens": self.tokens,
            "cost": self.cost_micro_usd,
            "requests": self.requests,
        }[metric]

    def largest(self, other: Spend) -> Spend:
        return Spend(
            max(self.tokens, other.tokens),
            max(self.cost_micro_usd, other.cost_micro_usd),
            max(self.requests, other.requests),
        )

    def smallest(self, other: Spend) -> Spend:
        return Spend(
            min(self.tokens, other.tokens),
            min(self.cost_micro_usd, other.cost_micro_usd),
            min(self.requests, other.requests),
        )

    def minus(self, other: Spend) -> Spend:
        return Spend(
            self.tokens - other.tokens,
            self.cost_micro_usd - other.cost_micro_usd,
            self.requests - other.requests,
        )


NOTHING = Spend(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a hold has on one line; ``would_refuse``: a shadow budget had no room for it."""

    key: LineKey
    metric: str
    held: int
    would_refuse: bool = False


@dataclass(slots=True)
class Hold:
    """One call's claim, from before it is sent until its cost is known."""

    request_id: str
    model: str
    user_id: str | None
    team_id: str | None
    key_id: str | None
    entries: tuple[Entry, ...]
    spend: Spend
    expires_at: datetime
    state: HoldState = HoldState.PENDING
    # What is charged at least, if nobody ever tells what it was; None: all of it.
    checkpoint: Spend | None = None
    posted: Spend = NOTHING
    is_estimated: bool = False
    # Of what is posted, what the later truth has taken back.
    credited: Spend = NOTHING

    @property
    def charged(self) -> Spend:
        return self.posted.minus(self.credited)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a call may take at most.

    ``output_tokens`` is of one choice. Where the caller has set no limit (``is_flexible``) it is
    cut to what is left. Prices in micro-USD per million tokens.
    """

    input_tokens: int
    output_tokens: int
    choices: int
    input_price: int
    output_price: int
    is_flexible: bool

    def spend(self, output_tokens: int) -> Spend:
        output = output_tokens * self.choices
        cost = self.input_tokens * self.input_price + output * self.output_price
        return Spend(min(MOST, self.input_tokens + output), min(MOST, -(-cost // TOKENS_PER_PRICE)))

    def affordable_output(self, metric: str, left: int) -> int:
        """Return for how many output tokens a choice ``left`` is enough; may be negative."""
        if metric == "tokens":
            return (left - self.input_tokens) // self.choices
        if metric == "cost" and self.output_price:
            room = left * TOKENS_PER_PRICE - self.input_tokens * self.input_price
            return room // (self.output_price * self.choices)
        return self.output_tokens


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold what a call may take, on every line or on none. Known again by its id."""

    request_id: str
    model: str
    accounts: tuple[Account, ...]
    demand: Demand
    expires_at: datetime
    user_id: str | None = None
    team_id: str | None = None
    key_id: str | None = None
    # What is charged where nobody ever says what it was; None: all that is held.
    checkpoint: Spend | None = None


@dataclass(frozen=True, slots=True)
class Settle:
    """Post what a call really took."""

    request_id: str
    spend: Spend
    is_estimated: bool = False


@dataclass(frozen=True, slots=True)
class Adjust:
    """Correct, once, what was posted on an estimate, by what it is known to have been."""

    request_id: str
    spend: Spend


@dataclass(frozen=True, slots=True)
class Release:
    """Give everything back: nothing was sent, or nothing is billed."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Say what a call has taken at least so far; keeps its hold alive."""

    request_id: str
    expires_at: datetime
    spend: Spend | None = None


@dataclass(frozen=True, slots=True)
class Expire:
    """Resolve a hold that nobody looks after any more, at its checkpoint: unless somebody has
    given a sign of life by now, for longer than ``now``."""

    request_id: str
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Set something of an account aside for one process, for when the ledger cannot be asked; or
    set it anew. It is held like a call, but a process that is gone has used nothing of it beyond
    what its journal says."""

    request_id: str
    account: Account
    wanted: int
    # So much of it the process may have granted by now, whatever it hears of this operation.
    at_least: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Post:
    """Post what a call took that was served from leases. It draws on what they hold."""

    request_id: str
    model: str
    # Each line that is charged, its metric, and the lease that it had there, if any.
    charges: tuple[tuple[LineKey, str, str | None], ...]
    spend: Spend
    is_estimated: bool
    at: datetime
    user_id: str | None = None
    team_id: str | None = None
    key_id: str | None = None

    @property
    def leases(self) -> list[str]:
        return [lease for _, _, lease in self.charges if lease is not None]


Operation = Reserve | Settle | Adjust | Release | Checkpoint | Expire | Lease | Post


@dataclass(frozen=True, slots=True)
class Standing:
    """What one of the caller's own budgets had left before the call; less than nothing, where
    more was spent than was held."""

    account: Account
    left: int


@dataclass(frozen=True, slots=True)
class Granted:
    """``would_refuse``: the shadow budgets that have no room."""

    output_tokens: int
    would_refuse: tuple[Account, ...] = ()
    # Beside the judgement: unknown where a hold is asked for again.
    standings: tuple[Standing, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """``account`` has no room; ``left`` is what it has."""

    account: Account
    left: int
    needed: int
    standings: tuple[Standing, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Resolved:
    """How the hold stands after a settlement, release, checkpoint or expiry; None: no such hold."""

    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Leased:
    """So much is set aside."""

    amount: int


Outcome = Granted | Refused | Resolved | Leased

# Of what an account has left one lease takes this part at most.
LEASE_PART = 4


@dataclass
class Book:
    """Some lines and holds, and what the operations make of them.

    Every line and hold that an operation touches must be here.
    """

    lines: dict[LineKey, Line] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    changed_lines: set[LineKey] = field(default_factory=set)
    changed_holds: set[str] = field(default_factory=set)

    def run(self, operation: Operation) -> Outcome:
        match operation:
            case Reserve():
                return self._reserve(operation)
            case Settle() | Adjust():
                return self._charge(operation)
            case Release():
                return self._release(operation.request_id)
            case Checkpoint():
                return self._checkpoint(operation)
            case Expire():
                return self._expire(operation)
            case Lease() | Post():
                return self._set_aside(operation)

    def copied_lines(self) -> dict[LineKey, Line]:
        """Return the lines for a book that is only asked what it would say."""
        return {key: replace(line) for key, line in self.lines.items()}

    def left(self, account: Account) -> int:
        line = self.lines[account.key]
        return account.budget.limit - line.posted - line.pending + line.credited

    def without_room(self, accounts: Iterable[Account], spend: Spend) -> list[Account]:
        """Return the accounts that have less left than ``spend``."""
        return [it for it in accounts if spend.of(it.budget.metric) > self.left(it)]

    def _reserve(self, wish: Reserve) -> Outcome:
        known = self.holds.get(wish.request_id)
        if known is not None and known.state is not HoldState.PENDING:
            return Resolved(known)
        if known is not None and known.model == wish.model:
            return Granted(_output_of(known.spend, wish.demand))
        if known is not None:
            # The same call at another model: what it held for the first is free again.
            self._free(known)
        output = self._affordable(wish)
        spend = wish.demand.spend(output)
        short = self.without_room(wish.accounts, spend)
        enforced = [account for account in short if account.budget.is_enforced]
        standings = tuple(Standing(it, self.left(it)) for it in wish.accounts if it.is_own)
        if enforced:
            account = max(enforced, key=lambda it: it.window.end)
            return replace(self._refused(account, spend, known), standings=standings)
        self._hold(wish, spend, short)
        return Granted(output, tuple(short), standings)

    def _affordable(self, wish: Reserve) -> int:
        if not wish.demand.is_flexible:
            return wish.demand.output_tokens
        limits = [
            wish.demand.affordable_output(account.budget.metric, self.left(account))
            for account in wish.accounts
            if account.budget.is_enforced
        ]
        output = min([wish.demand.output_tokens, *limits])
        return max(output, min(LEAST_OUTPUT_TOKENS, wish.demand.output_tokens))

    def _refused(self, account: Account, spend: Spend, known: Hold | None) -> Refused:
        if known is not None:
            self._resolve(known, HoldState.RELEASED)
        return Refused(account, self.left(account), spend.of(account.budget.metric))

    def _hold(self, wish: Reserve, spend: Spend, short: Sequence[Account]) -> None:
        entries = tuple(
            Entry(it.key, it.budget.metric, spend.of(it.budget.metric), it in short)
            for it in wish.accounts
        )
        for entry in entries:
            line = self._line(entry.key)
            line.pending += entry.held
            line.would_refuse += entry.would_refuse
        self.holds[wish.request_id] = Hold(
            wish.request_id,
            wish.model,
            wish.user_id,
            wish.team_id,
            wish.key_id,
            entries,
            spend,
            wish.expires_at,
            checkpoint=wish.checkpoint.smallest(spend) if wish.checkpoint else None,
        )
        self.changed_holds.add(wish.request_id)

    def _charge(self, operation: Settle | Adjust) -> Resolved:
        if isinstance(operation, Adjust):
            return self._adjust(operation)
        return self._settle(operation)

    def _settle(self, end: Settle) -> Resolved:
        hold = self.holds.get(end.request_id)
        if hold is None or hold.state is HoldState.SETTLED:
            return Resolved(hold)
        # Late, after it expired or was given back: what was posted stays, and the rest is added.
        self._post(hold, end.spend.largest(hold.posted))
        hold.is_estimated = end.is_estimated
        return self._resolve(hold, HoldState.SETTLED)

    def _adjust(self, truth: Adjust) -> Resolved:
        hold = self.holds.get(truth.request_id)
        if hold is None or not hold.is_estimated:
            return Resolved(hold)
        # What was too little is posted; what was too much stays posted, and is given back beside.
        self._post(hold, truth.spend.largest(hold.posted))
        hold.credited = hold.posted.minus(truth.spend)
        for entry in hold.entries:
            self._line(entry.key).credited += hold.credited.of(entry.metric)
        hold.is_estimated = False
        return self._resolve(hold, HoldState.SETTLED)

    def _release(self, request_id: str) -> Resolved:
        hold = self.holds.get(request_id)
        if hold is None or hold.state is not HoldState.PENDING:
            return Resolved(hold)
        self._free(hold)
        return self._resolve(hold, HoldState.RELEASED)

    def _checkpoint(self, sign: Checkpoint) -> Resolved:
        hold = self.holds.get(sign.request_id)
        if hold is not None and hold.state is HoldState.PENDING:
            hold.expires_at = sign.expires_at
            if sign.spend is not None:
                hold.checkpoint = sign.spend.largest(hold.checkpoint or NOTHING)
            self.changed_holds.add(hold.request_id)
        return Resolved(hold)

    def _expire(self, end: Expire) -> Resolved:
        hold = self.holds.get(end.request_id)
        if hold is None or hold.state is not HoldState.PENDING:
            return Resolved(hold)
        if end.now is not None and hold.expires_at >= end.now:
            return Resolved(hold)
        self._post(hold, hold.checkpoint or hold.spend)
        hold.is_estimated = True
        return self._resolve(hold, HoldState.EXPIRED)

    def _set_aside(self, operation: Lease | Post) -> Outcome:
        if isinstance(operation, Lease):
            return self._lease(operation)
        return self._post_leased(operation)

    def _lease(self, wish: Lease) -> Leased:
        key, metric = wish.account.key, wish.account.budget.metric
        floor = self._free_lease(wish)
        amount = max(floor, min(wish.wanted, self.left(wish.account) // LEASE_PART))
        self._line(key).pending += amount
        self.holds[wish.request_id] = Hold(
            wish.request_id,
            LEASE_MODEL,
            None,
            None,
            None,
            (Entry(key, metric, amount),),
            NOTHING,
            wish.expires_at,
            checkpoint=NOTHING,
        )
        self.changed_holds.add(wish.request_id)
        return Leased(amount)

    def _free_lease(self, wish: Lease) -> int:
        """Free what the lease was, and return what it must not fall below."""
        known = self.holds.get(wish.request_id)
        if known is None or known.state is not HoldState.PENDING:
            return 0
        self._free(known)
        return min(wish.at_least, known.entries[0].held)

    def _post_leased(self, end: Post) -> Resolved:
        known = self.holds.get(end.request_id)
        if known is not None and known.state is HoldState.SETTLED:
            return Resolved(known)
        for _, metric, lease in end.charges:
            self._draw(lease, end.spend.of(metric))
        if known is not None:
            # It was reserved after all, and nobody heard of it.
            return self._settle(Settle(end.request_id, end.spend, end.is_estimated))
        for key, metric, _ in end.charges:
            self._line(key).posted += end.spend.of(metric)
        self.holds[end.request_id] = Hold(
            end.request_id,
            end.model,
            end.user_id,
            end.team_id,
            end.key_id,
            tuple(Entry(key, metric, 0) for key, metric, _ in end.charges),
            NOTHING,
            end.at,
            posted=end.spend,
            is_estimated=end.is_estimated,
        )
        return self._resolve(self.holds[end.request_id], HoldState.SETTLED)

    def _draw(self, lease: str | None, amount: int) -> None:
        """Take what is posted out of what was set aside for it, as far as that goes."""
        hold = self.holds.get(lease or "")
        if hold is None or hold.state is not HoldState.PENDING:
            return
        (entry,) = hold.entries
        drawn = min(amount, entry.held)
        self._line(entry.key).pending -= drawn
        hold.entries = (replace(entry, held=entry.held - drawn),)
        self.changed_holds.add(hold.request_id)

    def _post(self, hold: Hold, spend: Spend) -> None:
        """Post ``spend`` in all, of which some may be posted already, and free what is held."""
        self._free(hold)
        for entry in hold.entries:
            line = self._line(entry.key)
            line.posted += spend.of(entry.metric) - hold.posted.of(entry.metric)
        hold.posted = spend

    def _free(self, hold: Hold) -> None:
        if hold.state is HoldState.PENDING:
            for entry in hold.entries:
                self._line(entry.key).pending -= entry.held

    def _resolve(self, hold: Hold, state: HoldState) -> Resolved:
        hold.state = state
        self.changed_holds.add(hold.request_id)
        return Resolved(hold)

    def _line(self, key: LineKey) -> Line:
        self.changed_lines.add(key)
        return self.lines[key]


def keys_of(operations: Iterable[Operation], holds: Mapping[str, Hold]) -> list[LineKey]:
    """Return the lines that operations touch, in the order in which they are locked."""
    keys: set[LineKey] = set()
    for operation in operations:
        keys.update(keys_named_by(operation))
        hold = holds.get(operation.request_id)
        # A checkpoint changes no line.
        if hold is not None and not isinstance(operation, Checkpoint):
            keys.update(entry.key for entry in hold.entries)
    return sorted(keys)


def keys_named_by(operation: Operation) -> list[LineKey]:
    """Return the lines that an operation names itself."""
    match operation:
        case Reserve():
            return [account.key for account in operation.accounts]
        case Lease():
            return [operation.account.key]
        case Post():
            return [key for key, _, _ in operation.charges]
    return []


def hold_ids(operations: Sequence[Operation]) -> list[str]:
    """Return the holds that operations touch, in the order in which they are locked."""
    ids = {operation.request_id for operation in operations}
    for operation in operations:
        if isinstance(operation, Post):
            ids.update(operation.leases)
    return sorted(ids)


def _output_of(spend: Spend, demand: Demand) -> int:
    """Return the output tokens of a choice that a hold was made for."""
    return (spend.tokens - demand.input_tokens) // demand.choices
