"""Notices that more and more waits on disk."""

from __future__ import annotations

from typing import Protocol

from app.utils.clock import Clock


class Tell(Protocol):
    def __call__(self, waiting_bytes: int, *, is_over: bool) -> None: ...


class Backlog:
    """Tells when what waits reaches a threshold, again while it stays there, and when it has fallen
    to half of it. Used in one thread."""

    def __init__(self, threshold_bytes: int, again_s: float, clock: Clock, tell: Tell) -> None:
        self._threshold_bytes = threshold_bytes
        self._again_s = again_s
        self._clock = clock
        self._tell = tell
        self._told_at_s: float | None = None

    def note(self, waiting_bytes: int) -> None:
        now_s = self._clock.steady_s()
        if waiting_bytes >= self._threshold_bytes:
            if self._told_at_s is None or now_s - self._told_at_s >= self._again_s:
                self._told_at_s = now_s
                self._tell(waiting_bytes, is_over=False)
        elif self._told_at_s is not None and waiting_bytes <= self._threshold_bytes // 2:
            self._told_at_s = None
            self._tell(waiting_bytes, is_over=True)
