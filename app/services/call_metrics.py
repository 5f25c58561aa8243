"""Counts of the calls of this process, as the administrators' API shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.utils.helpers import format_usd


@dataclass(slots=True)
class CallMetrics:
    """Counts since the start of the process or the last reset."""

    total_requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    fallback_requests: int = 0
    total_cost_micro_usd: int = 0
    total_response_time_ms: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and their ratios; money as exact decimal text, in USD."""
        total = self.total_requests
        mean_ms = round(self.total_response_time_ms / total, 2) if total else 0
        return {
            "total_requests": total,
            "successful_requests": self.successful_requests,
            "failed_requests": self.failed_requests,
            "fallback_requests": self.fallback_requests,
            "success_rate_percent": _percent(self.successful_requests, total),
            "fallback_rate_percent": _percent(self.fallback_requests, total),
            "avg_response_time_ms": mean_ms,
            "total_cost_micro_usd": self.total_cost_micro_usd,
            "total_cost_usd": format_usd(self.total_cost_micro_usd),
        }


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
