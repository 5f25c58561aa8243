"""The errors that say which limit has no room, how much is left, and when it renews.

Figures only of budgets that are the caller's own: a team's or the company's are others' too.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from app.ledger.book import Refused
from app.utils.exceptions import InsufficientQuotaError, SolarisError, TooManyRequestsError

_OWN_SCOPES = ("user", "key")


def refusal(refused: Refused, now: datetime, zone: ZoneInfo, quota_status: int) -> SolarisError:
    """Return the error for a call that has no room."""
    budget, window = refused.account.budget, refused.account.window
    if budget.period == "minute":
        return TooManyRequestsError(retry_after_s=max(1.0, (window.end - now).total_seconds()))
    return InsufficientQuotaError(
        status=quota_status,
        is_own=budget.scope in _OWN_SCOPES,
        scope=budget.scope,
        subject=refused.account.subject,
        metric=budget.metric,
        period=budget.period,
        limit=budget.limit,
        left=max(0, refused.left),
        needed=refused.needed,
        renews_at=window.end.astimezone(zone),
    )
