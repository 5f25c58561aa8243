"""Calls to models through LiteLLM, and what is known of the models.

The proxy alone decides retries and fallback, so LiteLLM is told to do neither; its own retries
were measured at 32 attempts for one bad request. No probe of ours is ever paid for.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

import orjson

from app.config.catalog import Catalog, Model
from app.config.settings import Settings
from app.services.answer_stream import AnswerStream
from app.services.health_service import HealthService, ModelStatus
from app.services.litellm_transport import Deadline, LiteLLMTransport, UpstreamAnswer
from app.services.upstream_errors import error_for, is_misconfiguration
from app.utils.clock import Clock
from app.utils.exceptions import (
    InvalidRequestError,
    LiteLLMError,
    ModelNotFoundError,
    RateLimitedError,
    SolarisError,
)
from app.utils.helpers import calculate_cost, format_usd, generate_request_id
from app.utils.litellm_logger import LiteLLMLogger

__all__ = ["LiteLLMService", "ModelInfo", "ModelStatus"]

PROBE_TIMEOUT_S = 5.0
CLIENT_LEFT = 499
# Only on answers from LiteLLM's cache.
CACHE_HIT_HEADER = "x-litellm-cache-key"


class CompletionMetadata(TypedDict):
    """What is known of one call beside its body; a stream fills the last fields as it ends."""

    request_id: str
    model_used: str
    response_time_ms: int
    litellm_status: int
    fallback_used: bool
    cache_hit: bool
    usage: dict[str, Any] | None
    # Micro-USD; None while it is not known.
    cost: int | None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model as administrators see it."""

    name: str
    provider: str
    status: ModelStatus
    last_check: datetime | None
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
        fields["last_check"] = self.last_check.isoformat() if self.last_check else None
        return fields


@dataclass(slots=True)
class Metrics:
    """Counts of this process since its start or the last reset."""

    total_requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    fallback_requests: int = 0
    total_cost_micro_usd: int = 0
    total_response_time_ms: int = 0


class LiteLLMService:
    """The calls. One instance a process; its session lives on the process's one loop."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        transport: LiteLLMTransport,
        health: HealthService,
        clock: Clock,
        render_error: Callable[[SolarisError], bytes],
    ) -> None:
        self._timeout_s = settings.litellm.timeout_s
        self._pseudonym_key = settings.security.secret_key.encode()
        self._catalog = catalog
        self._transport = transport
        self._health = health
        self._clock = clock
        self._render_error = render_error
        self._log = LiteLLMLogger()
        self._metrics = Metrics()

    async def close(self) -> None:
        await self._transport.close()

    async def chat_completion(
        self,
        model: str,
        messages: list[dict[str, Any]],
        *,
        request_id: str | None = None,
        user: str | None = None,
        **params: Any,
    ) -> tuple[dict[str, Any] | AnswerStream, int, CompletionMetadata]:
        """Ask ``model`` and return (body, status, metadata); with ``stream=True`` the body is an
        AnswerStream, whose metadata are complete when it ends.

        ``params`` go to the model untouched; ``user`` goes as a pseudonym.

        Raises: ModelNotFoundError, UpstreamRejectedError (the caller's own mistake),
        InvalidRequestError (nested too deeply), ModelNotAvailableError, UpstreamTimeoutError,
        RateLimitedError, LiteLLMError.
        """
        call = _Call(request_id or generate_request_id(), model, user, self._clock.steady_s())
        if model not in self._catalog:
            raise ModelNotFoundError(model)
        payload = self._payload(call, messages, params)
        self._metrics.total_requests += 1
        try:
            answer = await self._ask("/v1/chat/completions", call, payload)
            if params.get("stream"):
                return self._stream(call, answer, params)
            return await self._whole(call, answer)
        except SolarisError as error:
            self._failed(call, error)
            raise

    async def get_available_models(self) -> list[dict[str, Any]]:
        """Return every model of the catalogue with its status, as LiteLLM's free list has it."""
        offered = await self._offered()
        return [self._listed(name, offered) for name in self._catalog.names()]

    async def get_model_info(self, model: str) -> dict[str, Any] | None:
        """Return what is known of ``model``, or None when it is not in the catalogue."""
        known = self._catalog.models.get(model)
        return self._info(known).as_dict() if known else None

    async def health_check(self) -> dict[str, Any]:
        """Ask LiteLLM's free readiness endpoint, and add what real calls have shown."""
        is_up = await self.is_reachable()
        statuses = {name: self._health.of(name).status for name in self._catalog.models}
        return {
            "status": "healthy" if is_up else "unhealthy",
            "litellm_service": "healthy" if is_up else "unhealthy",
            "models": {name: status.value for name, status in statuses.items()},
            "metrics": self.get_metrics(),
            "last_check": self._clock.now().isoformat(),
        }

    async def is_reachable(self) -> bool:
        return await self._probe("/health/readiness") is not None

    def get_metrics(self) -> dict[str, Any]:
        """Return this process's counts; money as exact decimal text, in USD."""
        metrics = self._metrics
        total = metrics.total_requests
        return {
            "total_requests": total,
            "successful_requests": metrics.successful_requests,
            "failed_requests": metrics.failed_requests,
            "fallback_requests": metrics.fallback_requests,
            "success_rate_percent": _percent(metrics.successful_requests, total),
            "fallback_rate_percent": _percent(metrics.fallback_requests, total),
            "avg_response_time_ms": round(metrics.total_response_time_ms / total, 2)
            if total
            else 0,
            "total_cost_micro_usd": metrics.total_cost_micro_usd,
            "total_cost_usd": format_usd(metrics.total_cost_micro_usd),
            "healthy_models": self._health.count(ModelStatus.HEALTHY),
            "total_models": len(self._catalog.models),
        }

    async def reset_metrics(self) -> None:
        self._metrics = Metrics()

    async def force_model_refresh(self) -> None:
        """Forget what calls have shown, and ask LiteLLM's free list again."""
        self._health.forget()
        await self._offered()

    def _payload(
        self, call: _Call, messages: list[dict[str, Any]], params: dict[str, Any]
    ) -> dict[str, Any]:
        payload = {
            **params,
            "model": call.model,
            "messages": messages,
            "disable_fallbacks": True,
            "num_retries": 0,
        }
        if call.user:
            payload["user"] = self._pseudonym(call.user)
        if payload.get("stream"):
            payload["stream_options"] = {
                **(params.get("stream_options") or {}),
                "include_usage": True,
            }
        if payload.get("max_tokens", 0) is None:
            # A null would take away the limit that the configuration sets.
            del payload["max_tokens"]
        return payload

    def _pseudonym(self, user: str) -> str:
        """Return a stable stand-in: providers and LiteLLM's cache tell people apart, not who."""
        return hmac.new(self._pseudonym_key, user.encode(), hashlib.sha256).hexdigest()[:32]

    async def _ask(self, path: str, call: _Call, payload: dict[str, Any]) -> UpstreamAnswer:
        """Raises: SolarisError for every answer that is not a success."""
        try:
            body = orjson.dumps(payload)
        except orjson.JSONEncodeError as fault:
            # It reads deeper nesting than it writes.
            raise InvalidRequestError("not_json") from fault
        self._log.log_request(call.request_id, call.model, call.user, len(body))
        headers = {"x-litellm-call-id": call.request_id, "X-Request-ID": call.request_id}
        answer = await self._transport.post(path, body, headers, Deadline(self._timeout_s))
        if answer.status == 200:
            return answer
        if is_misconfiguration(answer.status):
            self._log.log_error(call.request_id, call.model, "upstream_refused_our_key")
        raise error_for(answer.status, answer.headers, await answer.json())

    async def _whole(
        self, call: _Call, answer: UpstreamAnswer
    ) -> tuple[dict[str, Any], int, CompletionMetadata]:
        body = await answer.json()
        if not isinstance(body, dict) or "error" in body:
            raise LiteLLMError()
        usage = body.get("usage")
        metadata = self._metadata(call, answer)
        self._succeeded(call, metadata, usage if isinstance(usage, dict) else None)
        return body, answer.status, metadata

    def _stream(
        self, call: _Call, answer: UpstreamAnswer, params: dict[str, Any]
    ) -> tuple[AnswerStream, int, CompletionMetadata]:
        if not answer.is_event_stream:
            answer.close()
            raise LiteLLMError()
        metadata = self._metadata(call, answer)
        stream = AnswerStream(
            answer,
            forward_usage=bool((params.get("stream_options") or {}).get("include_usage")),
            render_error=self._render_error,
            on_end=lambda ended: self._stream_ended(call, metadata, ended),
        )
        return stream, answer.status, metadata

    def _stream_ended(
        self, call: _Call, metadata: CompletionMetadata, stream: AnswerStream
    ) -> None:
        if stream.is_complete:
            self._succeeded(call, metadata, stream.usage)
        elif stream.error is not None:
            self._failed(call, stream.error)
        else:
            # The caller left: that says nothing of the model.
            self._log.log_response(
                call.request_id,
                call.model,
                CLIENT_LEFT,
                self._elapsed_ms(call),
                _counts(stream.usage),
            )

    def _metadata(self, call: _Call, answer: UpstreamAnswer) -> CompletionMetadata:
        served = self._catalog.served_by(call.model, answer.headers.get("x-litellm-model-name"))
        return {
            "request_id": call.request_id,
            "model_used": served.name if served else call.model,
            "response_time_ms": self._elapsed_ms(call),
            "litellm_status": answer.status,
            "fallback_used": False,
            "cache_hit": CACHE_HIT_HEADER in answer.headers,
            "usage": None,
            "cost": None,
        }

    def _succeeded(
        self, call: _Call, metadata: CompletionMetadata, usage: dict[str, Any] | None
    ) -> None:
        elapsed_ms = self._elapsed_ms(call)
        model_used = metadata["model_used"]
        metadata["usage"] = usage
        metadata["response_time_ms"] = elapsed_ms
        # LiteLLM reports the full price of an answer that came from its cache.
        metadata["cost"] = 0 if metadata["cache_hit"] else self._cost(model_used, usage)
        self._metrics.successful_requests += 1
        self._metrics.total_response_time_ms += elapsed_ms
        self._metrics.total_cost_micro_usd += metadata["cost"] or 0
        self._health.record_success(model_used, elapsed_ms)
        self._log.log_response(call.request_id, model_used, 200, elapsed_ms, _counts(usage))

    def _failed(self, call: _Call, error: SolarisError) -> None:
        self._metrics.failed_requests += 1
        self._metrics.total_response_time_ms += self._elapsed_ms(call)
        if call.model in self._catalog.models:
            self._record_failure(call.model, error)
        self._log.log_error(call.request_id, call.model, error.code, type(error).__name__)

    def _record_failure(self, model: str, error: SolarisError) -> None:
        if isinstance(error, RateLimitedError):
            self._health.record_failure(model, ModelStatus.RATE_LIMITED)
        elif isinstance(error, LiteLLMError) and error.status >= 500:
            # A caller's own mistake says nothing of the model, nor does our own restart.
            self._health.record_failure(model)

    def _cost(self, model: str, usage: dict[str, Any] | None) -> int | None:
        priced = self._catalog.models.get(model)
        if priced is None or usage is None:
            return None
        prompt, cached, completion = _token_counts(usage)
        prices = priced.prices
        return calculate_cost(
            (prompt - cached, prices.input),
            (cached, prices.cached_input),
            (completion, prices.output),
        )

    def _elapsed_ms(self, call: _Call) -> int:
        return int((self._clock.steady_s() - call.started_at_s) * 1000)

    async def _offered(self) -> set[str]:
        """Return the names that LiteLLM lists; none when it cannot be reached."""
        body = await self._probe("/v1/models")
        entries = body.get("data") if isinstance(body, dict) else None
        offered = {str(entry.get("id")) for entry in entries or [] if isinstance(entry, dict)}
        self._health.record_offered(offered & set(self._catalog.models))
        return offered

    async def _probe(self, path: str) -> Any | None:
        """Return the answer of one of LiteLLM's free endpoints, or None when it has none."""
        try:
            answer = await self._transport.get(path, Deadline(PROBE_TIMEOUT_S))
            body = await answer.json()
        except LiteLLMError as error:
            self._log.log_error("-", "-", error.code, "probe")
            return None
        return body if answer.status == 200 else None

    def _listed(self, name: str, offered: set[str]) -> dict[str, Any]:
        health = self._health.of(name)
        status = health.status if name in offered else ModelStatus.UNAVAILABLE
        return {
            "id": name,
            "object": "model",
            "status": status.value,
            "last_check": health.last_check.isoformat() if health.last_check else None,
            "response_time_ms": health.response_time_ms,
        }

    def _info(self, model: Model) -> ModelInfo:
        health = self._health.of(model.name)
        return ModelInfo(
            name=model.name,
            provider=model.provider,
            status=health.status,
            last_check=health.last_check,
            response_time_ms=health.response_time_ms,
            error_rate=health.error_rate,
            cost_per_input_token=_usd_per_token(model.prices.input),
            cost_per_output_token=_usd_per_token(model.prices.output),
            max_tokens=model.max_output_tokens,
            supports_vision=model.supports_vision,
            supports_function_calling=model.supports_function_calling,
        )


@dataclass(frozen=True, slots=True)
class _Call:
    """One call while it is under way."""

    request_id: str
    model: str
    user: str | None
    started_at_s: float


def _token_counts(usage: dict[str, Any]) -> tuple[int, int, int]:
    """Return (prompt, cached part of it, completion); what is no count is taken for none."""
    details = usage.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, dict) else 0
    prompt = _count(usage, "prompt_tokens")
    return prompt, min(cached, prompt), _count(usage, "completion_tokens")


def _count(mapping: dict[str, Any], key: str) -> int:
    value = mapping.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def _counts(usage: dict[str, Any] | None) -> dict[str, int] | None:
    """Return only the counts of a usage object: the rest is a provider's, and may be anything."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: _count(usage, name) for name in names} if usage else None


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _usd_per_token(price: int) -> str:
    """Return the price of one token, from micro-USD per million tokens: 10^-12 USD each."""
    digits = f"{price:013d}"
    return f"{digits[:-12]}.{digits[-12:]}".rstrip("0").rstrip(".")
