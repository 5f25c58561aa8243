"""One model as administrators see it: what the catalogue says, and how it is doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.config.catalog import Model
from app.services.health_service import ModelHealth, ModelStatus


@dataclass(frozen=True, slots=True)
class ModelInfo:
    name: str
    provider: str
    status: ModelStatus
    # Why it is not well, and since when.
    reason: str | None
    since: datetime | None
    last_check: datetime | None
    # Mean of the successful calls of the last five minutes.
    response_time_ms: int | None
    error_rate: float
    # Decimal text of USD, exact.
    cost_per_input_token: str
    cost_per_output_token: str
    max_tokens: int
    supports_vision: bool
    supports_function_calling: bool

    def as_dict(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["status"] = self.status.value
        for name in ("since", "last_check"):
            fields[name] = fields[name].isoformat() if fields[name] else None
        return fields


def model_info(model: Model, health: ModelHealth) -> ModelInfo:
    return ModelInfo(
        name=model.name,
        provider=model.provider,
        status=health.status,
        reason=health.reason,
        since=health.since,
        last_check=health.last_check,
        response_time_ms=health.outcomes.mean_latency_ms,
        error_rate=round(health.outcomes.error_rate, 4),
        cost_per_input_token=_usd_per_token(model.prices.input),
        cost_per_output_token=_usd_per_token(model.prices.output),
        max_tokens=model.max_output_tokens,
        supports_vision=model.supports_vision,
        supports_function_calling=model.supports_function_calling,
    )


def _usd_per_token(price: int) -> str:
    """Return the price of one token, from micro-USD per million tokens: 10^-12 USD each."""
    digits = f"{price:013d}"
    return f"{digits[:-12]}.{digits[-12:]}".rstrip("0").rstrip(".")
