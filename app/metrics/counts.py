"""The counts that administrators see: of all workers, since the start or the last reset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import orjson
from prometheus_client.samples import Sample

from app.metrics.instruments import Instruments
from app.utils.helpers import format_usd

# Whoever left before the answer was neither served nor failed.
CLIENT_LEFT = "499"


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Sums over all models; ``response_time_ms`` is of the requests that were let in."""

    total_requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    fallback_requests: int = 0
    total_cost_micro_usd: int = 0
    response_time_ms: int = 0
    timed_requests: int = 0

    def __sub__(self, other: CallCounts) -> CallCounts:
        return CallCounts(
            *(getattr(self, it.name) - getattr(other, it.name) for it in fields(self))
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and their ratios; money as exact decimal text, too, in USD."""
        total, timed = self.total_requests, self.timed_requests
        return {
            "total_requests": total,
            "successful_requests": self.successful_requests,
            "failed_requests": self.failed_requests,
            "fallback_requests": self.fallback_requests,
            "success_rate_percent": _percent(self.successful_requests, total),
            "fallback_rate_percent": _percent(self.fallback_requests, total),
            "avg_response_time_ms": round(self.response_time_ms / timed, 2) if timed else 0,
            "total_cost_micro_usd": self.total_cost_micro_usd,
            "total_cost_usd": format_usd(self.total_cost_micro_usd),
        }


class CallCounter:
    """Reads files, quickly; for threads. Prometheus' own counters never go back: a reset only
    remembers where they stood, in the file ``baseline`` for every worker of this machine, or,
    without one, for this process."""

    def __init__(self, instruments: Instruments, baseline: Path | None = None) -> None:
        self._instruments = instruments
        self._baseline = baseline
        self._own_baseline = CallCounts()

    def counts(self) -> CallCounts:
        return self._all() - self._at_reset()

    def reset(self) -> CallCounts:
        """Begin anew; return what had been counted."""
        counted = self._all()
        before = counted - self._at_reset()
        if self._baseline is None:
            self._own_baseline = counted
            return before
        # Whole or not at all, for those who read it meanwhile.
        written = self._baseline.with_suffix(f".{os.getpid()}")
        written.write_bytes(orjson.dumps(counted))
        written.replace(self._baseline)
        return before

    def _at_reset(self) -> CallCounts:
        if self._baseline is None:
            return self._own_baseline
        try:
            return CallCounts(**orjson.loads(self._baseline.read_bytes()))
        except FileNotFoundError:
            return CallCounts()

    def _all(self) -> CallCounts:
        samples = list(self._samples())
        by_status: dict[str, float] = {}
        for it in samples:
            if it.name == "solaris_requests_total":
                status = it.labels["status"]
                by_status[status] = by_status.get(status, 0) + it.value
        succeeded = sum(count for status, count in by_status.items() if status < "400")
        total = sum(by_status.values())
        return CallCounts(
            total_requests=int(total),
            successful_requests=int(succeeded),
            failed_requests=int(total - succeeded - by_status.get(CLIENT_LEFT, 0)),
            fallback_requests=_sum(samples, "solaris_fallbacks_total"),
            total_cost_micro_usd=_sum(samples, "solaris_cost_micro_usd_total"),
            response_time_ms=_sum(samples, "solaris_request_seconds_sum", 1000),
            timed_requests=_sum(samples, "solaris_request_seconds_count"),
        )

    def _samples(self) -> Iterator[Sample]:
        for family in self._instruments.registry().collect():
            yield from family.samples


def _sum(samples: list[Sample], name: str, scale: int = 1) -> int:
    return round(sum(it.value for it in samples if it.name == name) * scale)


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
