"""What a caller's budgets have left, in the headers that clients know.

Sources: OpenAI's guide to rate limits (durations as Go writes them: `1s`, `6m0s`), Anthropic's API
reference (moments after RFC 3339). Neither knows money: `-cost`, in micro-USD, is our own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from app.ledger.allowance import Rest

_ANTHROPICS = ("requests", "tokens")


def limit_headers(rests: Iterable[Rest], *, is_anthropic: bool) -> dict[str, str]:
    headers: dict[str, str] = {}
    for rest in rests:
        headers |= _openais(rest)
        if is_anthropic and rest.metric in _ANTHROPICS:
            headers |= _anthropics(rest)
    return headers


def _openais(rest: Rest) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{rest.metric}": str(rest.limit),
        f"x-ratelimit-remaining-{rest.metric}": str(rest.left),
        f"x-ratelimit-reset-{rest.metric}": _duration(rest.renews_in_s),
    }


def _anthropics(rest: Rest) -> dict[str, str]:
    name = f"anthropic-ratelimit-{rest.metric}"
    return {
        f"{name}-limit": str(rest.limit),
        f"{name}-remaining": str(rest.left),
        f"{name}-reset": _moment(rest.renews_at),
    }


def _duration(seconds: float) -> str:
    """Return it in whole seconds, never shorter than it is: `59s`, `6m0s`, `175h59m1s`."""
    minutes, second = divmod(math.ceil(seconds), 60)
    hour, minute = divmod(minutes, 60)
    if hour:
        return f"{hour}h{minute}m{second}s"
    return f"{minute}m{second}s" if minute else f"{second}s"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
