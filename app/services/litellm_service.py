"""Calls to models through LiteLLM, and what is known of the models.

The proxy alone decides retries and fallback, so LiteLLM is told to do neither; its own retries
were measured at 32 attempts for one bad request. No probe of ours is ever paid for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from app.config.catalog import Catalog, Model
from app.config.settings import Settings
from app.dialects.answer_text import text_of
from app.dialects.base import ModelRequest, Usage
from app.dialects.openai_chat import CHAT
from app.ledger.allowance import Allowance
from app.ledger.rules import Payer
from app.metrics.counts import CallCounter
from app.services.actions import RecordAction, unrecorded
from app.services.answer_stream import AnswerStream, ChunkSource, WholeSource
from app.services.call import Answer, Call, CompletionMetadata
from app.services.call_slots import Slot
from app.services.call_trail import CLIENT_LEFT, CallTrail
from app.services.fallback import candidates, first_answer
from app.services.health_service import HealthService, ModelStatus
from app.services.kill_switches import KillSwitches
from app.services.litellm_gateway import LiteLLMGateway
from app.services.litellm_transport import Deadline, UpstreamAnswer
from app.services.model_info import ModelInfo, model_info
from app.services.token_service import Hold, TokenService, cost_of
from app.services.upstream_errors import error_for
from app.utils.clock import Clock
from app.utils.exceptions import (
    InvalidRequestError,
    LiteLLMError,
    LiteLLMUnreachableError,
    SolarisError,
    UpstreamMisconfiguredError,
)
from app.utils.helpers import generate_request_id
from app.utils.litellm_logger import LiteLLMLogger
from app.utils.money import micro_usd
from app.utils.pseudonyms import stand_in

__all__ = ["LiteLLMService", "ModelInfo", "ModelStatus"]

PROBE_TIMEOUT_S = 5.0
FREE = Usage(0, 0)
BEST_FIRST = (
    ModelStatus.HEALTHY,
    ModelStatus.RATE_LIMITED,
    ModelStatus.UNHEALTHY,
    ModelStatus.UNAVAILABLE,
)
# Only on answers from LiteLLM's cache.
CACHE_HIT_HEADER = "x-litellm-cache-key"
# Not on streams: those say it in their usage.
COST_HEADER = "x-litellm-response-cost"

NOBODY = Payer(None, None, None)


@dataclass(frozen=True, slots=True)
class Opened:
    """A model's answer as it comes: what is held for it, its head, and its body or the stream."""

    hold: Hold
    answer: UpstreamAnswer
    body: dict[str, Any] | AnswerStream


class LiteLLMService:
    """The calls. One instance a process; its session lives on the process's one loop."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        gateway: LiteLLMGateway,
        health: HealthService,
        tokens: TokenService,
        switches: KillSwitches,
        counter: CallCounter,
        clock: Clock,
        describe: Callable[[SolarisError], str],
        record: RecordAction = unrecorded,
    ) -> None:
        self._timeout_s = settings.litellm.timeout_s
        self._secret_key = settings.security.secret_key
        self._catalog = catalog
        self._gateway = gateway
        self._health = health
        self._tokens = tokens
        self._switches = switches
        self._clock = clock
        self._describe = describe
        self._log = LiteLLMLogger()
        self._counter = counter
        self._record = record
        self._checks: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start asking LiteLLM's free endpoints from time to time."""
        self._checks = asyncio.create_task(self._keep_checking(), name="health-checks")

    async def close(self) -> None:
        if self._checks is not None:
            self._checks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._checks
            self._checks = None
        await self._gateway.close()

    async def chat_completion(
        self,
        model: str,
        messages: list[dict[str, Any]],
        *,
        request_id: str | None = None,
        user: str | None = None,
        **params: Any,
    ) -> Answer:
        """Ask ``model`` to go on with a chat; ``params`` are the API's own. As `call`."""
        body = {**params, "model": model, "messages": messages}
        size_bytes = sum(len(str(message.get("content"))) for message in messages)
        return await self.call(
            CHAT.request(body, size_bytes),
            request_id=request_id or generate_request_id(),
            user=user,
        )

    async def call(
        self,
        request: ModelRequest,
        *,
        request_id: str,
        user: str | None = None,
        payer: Payer = NOBODY,
        allowed_models: frozenset[str] | None = None,
        headers: Mapping[str, str] | None = None,
        allowance: Allowance | None = None,
        trail: CallTrail | None = None,
    ) -> Answer:
        """Send a request to the first model of its chain that answers; return (body, status,
        metadata). A streamed body is an AnswerStream, whose metadata are complete when it ends.

        ``user`` goes on as a pseudonym, ``headers`` as they are. What it may cost is held against
        the budgets of ``payer`` before each attempt; ``allowance`` takes note of how those of
        their own stand, and ``trail`` of what goes on record, whatever comes of the call; that of
        a stream is ended here, with it.

        Raises: AccessSuspendedError, ModelNotFoundError, ModelNotAllowedError,
        InsufficientQuotaError, TooManyRequestsError, DatabaseUnavailableError,
        UpstreamRejectedError (the caller's own mistake), InvalidRequestError,
        ModelNotAvailableError, UpstreamTimeoutError, RateLimitedError, LiteLLMError.
        """
        await self._switches.require_admitted(payer)
        stopped = self._switches.stopped_models()
        chain = candidates(self._catalog, request, allowed_models, stopped)
        trail = trail or CallTrail()
        call = Call(
            request_id,
            request,
            user,
            self._clock.steady_s(),
            headers or {},
            payer,
            allowance or Allowance(),
            trail.path,
            trail,
        )
        deadline = Deadline(self._timeout_s)
        slot: Slot | None = None
        try:
            slot = await self._tokens.enter(request, payer)
            model, opened = await first_answer(
                chain,
                self._health,
                lambda model: self._attempt(call, model, deadline),
                call.path,
                lambda: deadline.left_s() > 0,
                is_whole=not request.is_stream,
            )
        except BaseException as error:
            self._tokens.leave(slot)
            if isinstance(error, SolarisError):
                self._failed(call, error)
            raise
        return self._answered(call, model, opened, slot)

    async def get_available_models(self) -> list[dict[str, Any]]:
        """Return every name of the catalogue with its status, as LiteLLM's free list has it."""
        offered = await self._offered()
        return [self._listed(name, offered or set()) for name in self._catalog.names()]

    async def get_model_info(self, model: str) -> dict[str, Any] | None:
        """Return what is known of ``model``, or None when it is not in the catalogue."""
        known = self._catalog.models.get(model)
        return model_info(known, self._health.of(model)).as_dict() if known else None

    async def health_check(self) -> dict[str, Any]:
        """Ask LiteLLM's free readiness endpoint, and add what real calls have shown."""
        is_up = await self.is_reachable()
        statuses = {name: self._health.of(name).status for name in self._catalog.models}
        return {
            "status": "healthy" if is_up else "unhealthy",
            "litellm_service": "healthy" if is_up else "unhealthy",
            "models": {name: status.value for name, status in statuses.items()},
            "metrics": await self.get_metrics(),
            "last_check": self._clock.now().isoformat(),
        }

    async def is_reachable(self) -> bool:
        return await self._probe("/health/readiness") is not None

    async def get_metrics(self) -> dict[str, Any]:
        """Return the counts of all workers since the start or the last reset, and how many models
        are well."""
        counts = await asyncio.to_thread(self._counter.counts)
        return {
            **counts.as_dict(),
            "healthy_models": self._health.count(ModelStatus.HEALTHY),
            "total_models": len(self._catalog.models),
        }

    async def reset_metrics(self) -> None:
        """Begin to count anew, on every worker of this machine."""
        before = await asyncio.to_thread(self._counter.reset)
        self._record("metrics_reset", before={"total_requests": before.total_requests})

    async def force_model_refresh(self) -> None:
        """Forget what calls have shown, and ask LiteLLM's free list again."""
        self._health.forget()
        await self._offered()

    async def _attempt(self, call: Call, model: Model, deadline: Deadline) -> Opened:
        """Hold what the attempt may cost, then ask; give back what is surely not billed."""
        self._note_fallback(call, model)
        hold = await self._tokens.reserve(
            call.attempt_id, call.request, model, call.payer, call.allowance
        )
        call.trail.holds.append(hold)
        try:
            with call.trail.span.attempt(model.name) as trace:
                answer, body = await self._ask(call, hold, deadline, trace)
        except BaseException as error:
            if _may_be_billed(error):
                self._tokens.settle_unknown(hold)
            else:
                self._tokens.release(hold)
            raise
        return Opened(hold, answer, body)

    async def _ask(
        self, call: Call, hold: Hold, deadline: Deadline, trace: Mapping[str, str]
    ) -> tuple[UpstreamAnswer, dict[str, Any] | AnswerStream]:
        """Ask one model once.

        Raises: SolarisError for every answer that is not a success, and for a stream that fails
        before its first event.
        """
        model = hold.model
        pseudonym = self._pseudonym(call.user) if call.user else None
        body = self._encoded(call, hold, pseudonym)
        self._log.log_request(call.request_id, model.name, pseudonym, len(body))
        ids = {"x-litellm-call-id": call.request_id, "X-Request-ID": call.request_id}
        path = call.request.dialect.path
        answer = await self._gateway.post(path, body, {**call.headers, **ids, **trace}, deadline)
        if answer.status != HTTPStatus.OK:
            error = error_for(answer.status, answer.headers, await answer.json())
            error.upstream_status = answer.status
            if isinstance(error, UpstreamMisconfiguredError):
                self._log.log_error(call.request_id, model.name, error.cause)
            raise error
        if call.request.is_stream:
            return answer, await self._stream(call, answer)
        return answer, await _whole(answer)

    def _encoded(self, call: Call, hold: Hold, pseudonym: str | None) -> bytes:
        body = call.request.dialect.body_for(
            call.request, hold.model.name, pseudonym, hold.output_cap
        )
        body |= {"disable_fallbacks": True, "num_retries": 0}
        if pseudonym:
            # LiteLLM's cache takes `user` into its key, but not for `/v1/messages`, where one
            # person was given another's answer. The namespace keeps people apart everywhere.
            body["cache"] = {"namespace": pseudonym}
        try:
            return orjson.dumps(body)
        except orjson.JSONEncodeError as fault:
            # It reads deeper nesting than it writes.
            raise InvalidRequestError("not_json") from fault

    def _pseudonym(self, user: str) -> str:
        """Return a stable stand-in: providers, LiteLLM's cache and the log tell people apart, not
        who they are."""
        return stand_in(self._secret_key, user)

    async def _stream(self, call: Call, answer: UpstreamAnswer) -> AnswerStream:
        dialect = call.request.dialect
        source: ChunkSource = answer
        if not answer.is_event_stream:
            events = dialect.events_of(await _whole(answer))
            if events is None:
                raise LiteLLMError()
            source = WholeSource(events)

        def render_error(error: SolarisError) -> bytes:
            return dialect.error_event(error, self._describe(error), call.request_id)

        stream = AnswerStream(source, dialect.stream_reader(call.request), render_error)
        await stream.begin()
        return stream

    def _note_fallback(self, call: Call, model: Model) -> None:
        """Log the hop, when another model was to answer."""
        if call.path:
            last = call.path[-1]
            self._log.log_fallback(
                call.request_id, last.model, model.name, f"{last.outcome}: {last.reason}"
            )

    def _answered(self, call: Call, model: Model, opened: Opened, slot: Slot | None) -> Answer:
        metadata = self._metadata(call, model, opened.answer)
        body, trail = opened.body, call.trail
        trail.model_used, trail.is_from_cache = model.name, metadata["cache_hit"]
        trail.litellm_cost = micro_usd(opened.answer.headers.get(COST_HEADER))
        self._keep_text(call, opened.body)
        if isinstance(body, AnswerStream):
            trail.is_stream, trail.first_byte_ms = True, metadata["response_time_ms"]
            body.write_ahead = self._tokens.write_ahead(opened.hold, lambda: body.usage)
            body.on_end = lambda stream: self._stream_ended(
                call, metadata, opened.hold, slot, stream
            )
            self._switches.watch(body, call.payer, model.name)
        else:
            self._tokens.leave(slot)
            usage = call.request.dialect.usage_of(body)
            self._settle(opened.hold, metadata, usage)
            self._succeeded(call, metadata, usage)
        return body, opened.answer.status, metadata

    def _keep_text(self, call: Call, body: dict[str, Any] | AnswerStream) -> None:
        """Have the texts go on record, where that was asked for."""
        trail = call.trail
        if trail.keep is None:
            return
        trail.prompt = call.request.fields
        if isinstance(body, AnswerStream):
            body.listen(trail.answer.read)
        else:
            trail.answer.add(text_of(body))

    def _settle(self, hold: Hold, metadata: CompletionMetadata, usage: Usage | None) -> None:
        """Post a complete answer. LiteLLM reports the full price of one from its cache."""
        if metadata["cache_hit"]:
            self._tokens.settle(hold, FREE)
        elif usage is not None and usage.is_known:
            self._tokens.settle(hold, usage)
        else:
            self._tokens.settle_unknown(hold)

    def _metadata(self, call: Call, model: Model, answer: UpstreamAnswer) -> CompletionMetadata:
        return {
            "request_id": call.request_id,
            "model_used": model.name,
            "response_time_ms": self._elapsed_ms(call),
            "litellm_status": answer.status,
            "fallback_used": len(call.path) > 1,
            "path": call.steps,
            "cache_hit": CACHE_HIT_HEADER in answer.headers,
            "usage": None,
            "cost": None,
        }

    def _stream_ended(
        self,
        call: Call,
        metadata: CompletionMetadata,
        hold: Hold,
        slot: Slot | None,
        stream: AnswerStream,
    ) -> None:
        self._switches.forget(stream)
        self._tokens.leave(slot)
        if stream.stated_cost is not None:
            call.trail.litellm_cost = stream.stated_cost
        usage = stream.usage if stream.usage is not None and stream.usage.is_known else None
        if metadata["cache_hit"] or (stream.is_complete and usage is not None):
            self._settle(hold, metadata, usage)
        else:
            self._tokens.settle_received(hold, usage, stream.received_tokens)
        if stream.is_complete:
            self._succeeded(call, metadata, stream.usage)
            self._end_trail(call, HTTPStatus.OK)
            return
        metadata["usage"] = stream.usage
        if isinstance(stream.error, LiteLLMError):
            self._health.record_failure(metadata["model_used"], stream.error.cause)
        if stream.error is not None:
            self._failed(call, stream.error)
            self._end_trail(call, stream.error.status, stream.error.cause)
        else:
            # The caller left: that says nothing of the model.
            self._log_response(call, metadata, CLIENT_LEFT)
            self._end_trail(call, CLIENT_LEFT, "client_left")

    def _succeeded(self, call: Call, metadata: CompletionMetadata, usage: Usage | None) -> None:
        metadata["usage"] = usage
        metadata["response_time_ms"] = self._elapsed_ms(call)
        # LiteLLM reports the full price of an answer that came from its cache.
        metadata["cost"] = 0 if metadata["cache_hit"] else self._cost(metadata["model_used"], usage)
        self._health.record_success(metadata["model_used"], metadata["response_time_ms"])
        self._log_response(call, metadata, HTTPStatus.OK)

    def _end_trail(self, call: Call, status: int, reason: str | None = None) -> None:
        call.trail.end(status, self._clock.steady_s(), reason)

    def _failed(self, call: Call, error: SolarisError) -> None:
        self._log.log_error(
            call.request_id, call.request.model, error.cause, type(error).__name__, call.steps
        )

    def _log_response(self, call: Call, metadata: CompletionMetadata, status: int) -> None:
        usage = metadata["usage"]
        self._log.log_response(
            call.request_id,
            metadata["model_used"],
            status,
            self._elapsed_ms(call),
            usage.as_dict() if usage else None,
            call.steps if metadata["fallback_used"] else None,
        )

    def _cost(self, model: str, usage: Usage | None) -> int | None:
        return None if usage is None else cost_of(self._catalog.models[model], usage)

    def _elapsed_ms(self, call: Call) -> int:
        return int((self._clock.steady_s() - call.started_at_s) * 1000)

    async def _keep_checking(self) -> None:
        while True:
            await self._offered()
            await asyncio.sleep(self._catalog.health.check_interval_s)

    async def _offered(self) -> set[str] | None:
        """Return the names that LiteLLM lists; None when it cannot be reached."""
        body = await self._probe("/v1/models")
        entries = body.get("data") if isinstance(body, dict) else None
        if entries is None:
            return None
        offered = {str(entry.get("id")) for entry in entries if isinstance(entry, dict)}
        self._health.record_offered(offered, set(self._catalog.models))
        return offered

    async def _probe(self, path: str) -> Any | None:
        """Return the answer of one of LiteLLM's free endpoints, or None when it has none."""
        try:
            answer = await self._gateway.get(path, Deadline(PROBE_TIMEOUT_S))
            body = await answer.json()
        except LiteLLMError:
            # LiteLLM's breaker has heard of it, and logs when it opens.
            return None
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._log.log_error("-", "-", UpstreamMisconfiguredError().cause, "probe")
        return body if answer.status == HTTPStatus.OK else None

    def _listed(self, name: str, offered: set[str]) -> dict[str, Any]:
        health = self._health.of(name)
        status = health.status if name in offered else ModelStatus.UNAVAILABLE
        if name in offered and name in self._catalog.groups:
            status = self._group_status(name)
        return {
            "id": name,
            "object": "model",
            "status": status.value,
            "reason": health.reason,
            "last_check": health.last_check.isoformat() if health.last_check else None,
            "response_time_ms": health.outcomes.mean_latency_ms,
        }

    def _group_status(self, name: str) -> ModelStatus:
        """Return the best of its members': one that is well answers for all."""
        members = {self._health.of(member).status for member in self._catalog.groups[name].members}
        return next(status for status in BEST_FIRST if status in members)


def _may_be_billed(error: BaseException) -> bool:
    """Tell whether a provider may have worked for an attempt that gave us nothing.

    A refusal with a status is not billed; nor is what was never sent. A silence, a broken
    connection, junk, and a caller who left may be. Of a provider's silence LiteLLM says 408.
    """
    if isinstance(error, LiteLLMUnreachableError | InvalidRequestError):
        return False
    if not isinstance(error, SolarisError):
        return True
    return error.upstream_status in (None, HTTPStatus.REQUEST_TIMEOUT)


async def _whole(answer: UpstreamAnswer) -> dict[str, Any]:
    body = await answer.json()
    if not isinstance(body, dict) or body.get("error"):
        raise LiteLLMError()
    return body
