"""How each model is doing, learned from the calls that people really make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from app.utils.clock import Clock


class ModelStatus(Enum):
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    RATE_LIMITED = "rate_limited"
    # Nothing is known of it yet, or LiteLLM does not offer it.
    UNAVAILABLE = "unavailable"


@dataclass(slots=True)
class ModelHealth:
    """What is known of one model; times are wall-clock, UTC."""

    status: ModelStatus = ModelStatus.UNAVAILABLE
    last_check: datetime | None = None
    response_time_ms: int | None = None
    requests: int = 0
    failures: int = 0

    @property
    def error_rate(self) -> float:
        return self.failures / self.requests if self.requests else 0.0


class HealthService:
    """Remembers outcomes by model. A caller's own mistake is no outcome of the model's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._models: dict[str, ModelHealth] = {}

    def of(self, model: str) -> ModelHealth:
        return self._models.get(model) or ModelHealth()

    def record_success(self, model: str, response_time_ms: int) -> None:
        health = self._record(model, ModelStatus.HEALTHY)
        health.response_time_ms = response_time_ms

    def record_failure(self, model: str, status: ModelStatus = ModelStatus.UNHEALTHY) -> None:
        self._record(model, status).failures += 1

    def record_offered(self, models: set[str]) -> None:
        """Take note of what LiteLLM lists: such a model is well until a call shows otherwise."""
        for name in models:
            health = self._models.setdefault(name, ModelHealth())
            health.last_check = self._clock.now()
            if health.status is ModelStatus.UNAVAILABLE:
                health.status = ModelStatus.HEALTHY

    def forget(self) -> None:
        self._models.clear()

    def count(self, status: ModelStatus) -> int:
        return sum(health.status is status for health in self._models.values())

    def total(self) -> int:
        return len(self._models)

    def _record(self, model: str, status: ModelStatus) -> ModelHealth:
        health = self._models.setdefault(model, ModelHealth())
        health.status = status
        health.last_check = self._clock.now()
        health.requests += 1
        return health
