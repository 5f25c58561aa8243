"""What one request is here and at LiteLLM, and whether that agrees; no I/O.

A request is *matched*, *missing here* (LiteLLM answered and billed, and nothing is settled here),
*missing there* (it is settled here, and LiteLLM never said that it answered) or *differing*.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    MATCHED = "matched"
    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    DIFFERING = "differing"


class Amounts(NamedTuple):
    """None where nobody says it; money in micro-USD."""

    input_tokens: int | None
    output_tokens: int | None
    cost_micro_usd: int | None

    @property
    def cost(self) -> int:
        return self.cost_micro_usd or 0

    @property
    def is_something(self) -> bool:
        return any(self)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two costs of one request may be apart.

    Both sides multiply the same counts by the same prices, of one file; each attempt is rounded up
    here and half up there. So more than ten micro-USD is no rounding; and a percent is below what
    a wrong price or a wrong count makes. Counts are copied from the provider's: they are equal.
    """

    cost_percent: int = 1
    cost_micro_usd: int = 10

    def holds(self, one: int, other: int) -> bool:
        most = max(self.cost_micro_usd * 100, self.cost_percent * max(one, other))
        return abs(one - other) * 100 <= most


@dataclass(frozen=True, slots=True)
class Ours:
    """A request as it is on record; ``amounts`` with its adjustment, if there is one."""

    at: datetime
    model: str | None
    amounts: Amounts
    is_refused: bool = False
    is_estimated: bool = False
    is_cached: bool = False
    # By how much it was corrected; None: it was not.
    adjusted_micro_usd: int | None = None
    # More than one model was asked, one after the other.
    has_fallbacks: bool = False
    # What LiteLLM's own answer said that it cost.
    stated_cost: int | None = None

    @property
    def is_settled(self) -> bool:
        is_known = self.is_cached or self.adjusted_micro_usd is not None
        return not self.is_refused and (self.amounts.is_something or is_known)

    @property
    def is_uncertain(self) -> bool:
        return self.is_estimated and self.adjusted_micro_usd is None


@dataclass(frozen=True, slots=True)
class Theirs:
    """What LiteLLM's events say of a request, each of its answers once."""

    at: datetime
    model: str | None
    amounts: Amounts
    # Else it said only that it failed.
    has_answered: bool = True
    is_cached: bool = False
    # The caller left: LiteLLM itself has estimated what an answer took.
    is_estimated: bool = False
    # Of an answer at least it has the provider's counts.
    is_exact: bool = True

    @property
    def is_billed(self) -> bool:
        return self.has_answered and not self.is_cached and self.amounts.is_something


@dataclass(frozen=True, slots=True)
class Pair:
    """``ledger_cost``: what the ledger posted for a call that is not on record."""

    request_id: str
    ours: Ours | None
    theirs: Theirs | None
    is_our_id: bool = True
    ledger_cost: int | None = None

    @property
    def model(self) -> str | None:
        if self.ours is not None and self.ours.model is not None:
            return self.ours.model
        return self.theirs.model if self.theirs else None


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: Kind
    reason: str | None = None
    # Matched as far as anybody can tell: at least one side could only estimate.
    is_estimate: bool = False


def compare(pair: Pair, tolerance: Tolerance) -> Verdict | None:
    """Return what a request is; None where nothing was settled here and nothing billed there."""
    ours, theirs = pair.ours, pair.theirs
    if ours is None or not ours.is_settled:
        is_billed = theirs is not None and theirs.is_billed
        return Verdict(Kind.MISSING_HERE, _why_missing_here(pair)) if is_billed else None
    if theirs is None or not theirs.has_answered:
        # What costs nothing is of no account, answered or not.
        if not ours.amounts.is_something:
            return None
        return Verdict(Kind.MISSING_THERE, _why_missing_there(ours, theirs))
    if theirs.is_estimated:
        return Verdict(Kind.MATCHED, is_estimate=True)
    if differences := _differences(ours, theirs, tolerance):
        return Verdict(Kind.DIFFERING, ",".join(differences))
    return Verdict(Kind.MATCHED)


def can_be_corrected(pair: Pair) -> bool:
    """Tell whether LiteLLM knows what was only estimated here, and it was something else."""
    ours, theirs = pair.ours, pair.theirs
    if ours is None or theirs is None or not ours.is_uncertain or not theirs.is_exact:
        return False
    is_counted = ours.amounts.input_tokens is not None
    return not is_counted or bool(_differences(ours, theirs, Tolerance(0, 1)))


def describe(pair: Pair, verdict: Verdict) -> dict[str, Any]:
    """Return a discrepancy as it is shown and kept."""
    ours = pair.ours.amounts if pair.ours and pair.ours.is_settled else None
    theirs = pair.theirs.amounts if pair.theirs and pair.theirs.has_answered else None
    moment = pair.ours or pair.theirs
    return {
        "kind": verdict.kind.value,
        "reason": verdict.reason,
        "request_id": pair.request_id,
        "at": moment.at.isoformat() if moment else None,
        "model": pair.model,
        "ours": ours._asdict() if ours else None,
        "litellm": theirs._asdict() if theirs else None,
        "stated_cost_micro_usd": pair.ours.stated_cost if pair.ours else None,
        "difference_micro_usd": difference(pair),
    }


def difference(pair: Pair) -> int:
    """Return by how much more is settled here than is billed there."""
    return our_cost(pair) - their_cost(pair)


def our_cost(pair: Pair) -> int:
    return pair.ours.amounts.cost if pair.ours and pair.ours.is_settled else 0


def their_cost(pair: Pair) -> int:
    theirs = pair.theirs
    return theirs.amounts.cost if theirs and theirs.has_answered and not theirs.is_cached else 0


def _why_missing_here(pair: Pair) -> str:
    if not pair.is_our_id:
        return "not_by_the_proxy"
    if pair.ours is None:
        return "not_on_record" if pair.ledger_cost is None else "only_in_the_ledger"
    return "refused" if pair.ours.is_refused else "not_charged"


def _why_missing_there(ours: Ours, theirs: Theirs | None) -> str:
    if theirs is not None:
        return "failed_there"
    # The answer itself named its price: what is lost is the event.
    return "no_event" if ours.stated_cost is None else "event_lost"


def _differences(ours: Ours, theirs: Theirs, tolerance: Tolerance) -> list[str]:
    mine, others = ours.amounts, theirs.amounts
    if ours.is_cached or theirs.is_cached:
        # LiteLLM says the counts of the answer that it kept; paid is nothing.
        is_good = tolerance.holds(mine.cost, 0 if theirs.is_cached else others.cost)
        return [] if is_good else ["cost"]
    found = [
        name
        for name in ("input_tokens", "output_tokens")
        if None not in (getattr(mine, name), getattr(others, name))
        and getattr(mine, name) != getattr(others, name)
    ]
    if others.cost_micro_usd is not None and not tolerance.holds(mine.cost, others.cost):
        found.append("cost")
    # The header is of the last answer alone; 0 is of a model whose price LiteLLM does not know.
    elif ours.stated_cost and not ours.has_fallbacks and not ours.is_estimated:
        found += [] if tolerance.holds(mine.cost, ours.stated_cost) else ["stated_cost"]
    return found
