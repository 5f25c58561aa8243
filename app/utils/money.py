"""Amounts that others state in dollars, as the integer micro-USD that all of ours are."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from app.utils.helpers import MICRO_USD

# No call costs so much; what is beyond it is junk, and would not fit into the ledger.
MOST = Decimal(10**9)


def micro_usd(dollars: object) -> int | None:
    """Return what a number or its text says, rounded half up; None for anything else."""
    if isinstance(dollars, bool) or not isinstance(dollars, int | float | str):
        return None
    try:
        amount = Decimal(str(dollars))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= MOST:
        return None
    return to_micro(amount)


def to_micro(dollars: Decimal) -> int:
    return int((dollars * MICRO_USD).to_integral_value(ROUND_HALF_UP))
