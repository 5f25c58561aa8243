"""How many calls failed, and how long the others took, over the last minutes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

BUCKET_S = 30
BUCKETS = 10


@dataclass(slots=True)
class Outcomes:
    """Sums of some calls; ``latency_ms`` is that of the successful ones."""

    requests: int = 0
    failures: int = 0
    latency_ms: int = 0

    def add(self, other: Outcomes) -> None:
        self.requests += other.requests
        self.failures += other.failures
        self.latency_ms += other.latency_ms

    @property
    def error_rate(self) -> float:
        return self.failures / self.requests if self.requests else 0.0

    @property
    def mean_latency_ms(self) -> int | None:
        successes = self.requests - self.failures
        return self.latency_ms // successes if successes else None


class OutcomeWindow:
    """A sliding window of five minutes, in steps of half a minute."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, Outcomes]] = deque()

    def add(self, outcome: Outcomes, now_s: float) -> None:
        number = int(now_s // BUCKET_S)
        if not self._buckets or self._buckets[-1][0] != number:
            self._buckets.append((number, Outcomes()))
        self._buckets[-1][1].add(outcome)
        self._forget(number)

    def totals(self, now_s: float) -> Outcomes:
        self._forget(int(now_s // BUCKET_S))
        totals = Outcomes()
        for _, outcomes in self._buckets:
            totals.add(outcomes)
        return totals

    def _forget(self, number: int) -> None:
        while self._buckets and self._buckets[0][0] <= number - BUCKETS:
            self._buckets.popleft()
