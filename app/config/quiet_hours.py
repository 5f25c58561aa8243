"""When only what is critical is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From ``start`` until just before ``end``, on the wall; over midnight where it ends before."""

    start: time
    end: time

    def contain(self, at: time) -> bool:
        if self.start <= self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end


def parse_quiet_hours(written: str) -> QuietHours:
    """Read "22:00-07:00". Raises: ValueError."""
    start, _, end = written.partition("-")
    hours = QuietHours(_time(start), _time(end))
    if hours.start == hours.end:
        raise ValueError(written)
    return hours


def _time(written: str) -> time:
    hour, minute = written.strip().split(":")
    if not (hour.isascii() and minute.isascii() and hour.isdecimal() and minute.isdecimal()):
        raise ValueError(written)
    return time(int(hour), int(minute))
