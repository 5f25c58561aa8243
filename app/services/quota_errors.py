"""The errors that say which limit has no room, how much is left, and when it renews.

Figures only of budgets that are the caller's own: a team's or the company's are others' too.
"""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

from app.config.quota_messages import Shortage
from app.ledger.book import Refused
from app.utils.exceptions import (
    AboveLimitError,
    InsufficientQuotaError,
    SolarisError,
    TooManyRequestsError,
)


def refusal(refused: Refused, now: datetime, zone: ZoneInfo) -> SolarisError:
    """Return the error for a call that has no room."""
    budget, window = refused.account.budget, refused.account.window
    left_s = max(1.0, (window.end - now).total_seconds())
    shortage = Shortage(
        is_own=refused.account.is_own,
        scope=budget.scope,
        subject=refused.account.subject,
        metric=budget.metric,
        period=budget.period,
        limit=budget.limit,
        left=max(0, refused.left),
        needed=refused.needed,
        now=now.astimezone(zone),
        renews_at=window.end.astimezone(zone),
        seconds=math.ceil(left_s),
    )
    if budget.period != "minute":
        return InsufficientQuotaError(**shortage)
    if refused.needed > budget.limit:
        return AboveLimitError(**shortage)
    return TooManyRequestsError(retry_after_s=left_s, **shortage)
