"""The only way into the audit trail: what is said here is on disk, and in Postgres soon after."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from app.audit.content import ContentKeys
from app.audit.event import REQUEST, AuditEvent, to_line
from app.audit.intake import Intake
from app.audit.shipper import Append, AuditShipper
from app.audit.spool import Spool
from app.audit.trickle import Trickle
from app.dialects.base import Usage
from app.ledger.book import Hold as LedgerHold
from app.services.actions import Facts
from app.services.call_trail import CLIENT_LEFT, CallTrail
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import SolarisError, SpoolUnavailableError
from app.utils.helpers import generate_request_id, time_of_request_id
from app.utils.json_logging import request_id_var

logger = logging.getLogger("audit")

CLOSE_PATIENCE_S = 5.0
# Of requests without a key that is ours; whoever floods us does not fill the disk.
MAX_UNAUTHENTICATED_A_SECOND = 10
UNAUTHENTICATED = 401
FIRST_ERROR_STATUS = 400
# An event that brings the texts of a request, where they are kept.
CONTENT = "content"
# A delivery to the webhook that was not signed by anybody known.
WEBHOOK_REFUSED = "webhook_refused"
SPOOL_GROWING = "spool_growing"


class AuditService:
    """One instance a process. `record` and what is built on it never raise and never block longer
    than one write to a file."""

    def __init__(
        self,
        spool: Spool,
        shipper: AuditShipper,
        append: Append,
        clock: Clock,
        *,
        is_strict: bool,
        contents: ContentKeys | None = None,
    ) -> None:
        """``append`` puts events into Postgres; ``is_strict``: what cannot be put on record is not
        done; without ``contents`` no text is kept."""
        self._spool = spool
        self._intake = Intake(spool, clock)
        self._shipper = shipper
        self._append = append
        self._is_open = False
        self._contents = contents
        self._sealing: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._is_strict = is_strict
        # Told of every request to a model, also of those that are too many to be recorded.
        self.on_call: Callable[[AuditEvent], None] = lambda _event: None
        self._unauthenticated = Trickle(clock, MAX_UNAUTHENTICATED_A_SECOND)
        self._refused = Trickle(clock, MAX_UNAUTHENTICATED_A_SECOND)

    async def open(self) -> None:
        """Start to bring what is on disk into Postgres."""
        await asyncio.to_thread(self._shipper.start)
        self._is_open = True

    async def close(self) -> None:
        """Bring what is left into Postgres, as far as it lets; the rest waits on disk."""
        if self._sealing:
            await asyncio.wait(self._sealing, timeout=CLOSE_PATIENCE_S)
        await asyncio.to_thread(self._shipper.stop, CLOSE_PATIENCE_S)
        self._spool.close()

    def begin(self, request_id: str, *, ip: str, user_agent: str) -> CallTrail:
        """Return what a request to a model is gathered in.

        Raises: SpoolUnavailableError, in strict mode, while the disk takes nothing.
        """
        self.require_writable()
        return CallTrail(
            request_id,
            self._clock.steady_s(),
            ip,
            user_agent,
            record=self._record_call,
            keep=self._keep_text if self._contents else None,
        )

    def require_writable(self) -> None:
        """Raises: SpoolUnavailableError, in strict mode, while the disk takes nothing."""
        if self._is_strict and not self._intake.is_open():
            raise SpoolUnavailableError()

    def end(self, trail: CallTrail, status: int, failure: SolarisError | None) -> None:
        """Record a request that was answered whole, or not at all."""
        reason, limit = (failure.cause, failure.values) if failure else (None, None)
        if failure is None and status >= FIRST_ERROR_STATUS:
            reason = "client_left" if status == CLIENT_LEFT else "internal_error"
        trail.end(status, self._clock.steady_s(), reason, limit)

    def record(self, event: AuditEvent) -> None:
        """Put an event on disk; where that takes nothing it waits, and is tried again."""
        self._intake.take(to_line(event))

    def record_action(
        self,
        action: str,
        *,
        user: str | None = None,
        team: str | None = None,
        key: str | None = None,
        before: Facts | None = None,
        after: Facts | None = None,
        **facts: Any,
    ) -> None:
        """As `RecordAction`. Outside a server it is in Postgres when this returns.

        Raises: DatabaseUnavailableError, outside a server.
        """
        states = {"before": before, "after": after}
        detail = {"by": actor_var.get(), **facts} | {
            name: dict(state) for name, state in states.items() if state is not None
        }
        request_id = request_id_var.get()
        event = self._event(
            action, request_id=request_id, user=user, team=team, key=key, detail=detail
        )
        if self._is_open:
            self.record(event)
        else:
            self._append([event])

    def record_lost(self, hold: LedgerHold) -> None:
        """Record a call whose worker died: another has settled it at its last checkpoint."""
        request_id = hold.request_id.partition(".")[0]
        at = time_of_request_id(request_id)
        if at is None:
            return
        self.record(
            AuditEvent(
                event_id=request_id,
                at=at,
                event=REQUEST,
                request_id=request_id,
                user=hold.user_id,
                team=hold.team_id,
                key=hold.key_id,
                model=hold.model,
                model_used=hold.model,
                cost_micro_usd=hold.posted.cost_micro_usd,
                is_estimated=True,
                detail={"reason": "worker_lost", "tokens": hold.posted.tokens},
            )
        )

    def make_durable(self) -> bool:
        """Have what was recorded survive the machine, too; tell whether it does. Blocks."""
        if not self._intake.is_open():
            return False
        try:
            self._spool.sync()
        except OSError:
            return False
        return True

    def log_webhook_refused(self, reason: str, ip: str) -> bool:
        """Record a delivery that nobody known has signed, so many a second at most; tell whether
        it was among them."""
        if not self._refused.has_room():
            return False
        left_out = {"refused_before": count} if (count := self._refused.take_left_out()) else {}
        self.record(
            self._event(
                WEBHOOK_REFUSED,
                request_id=request_id_var.get(),
                status=UNAUTHENTICATED,
                private={"ip": ip} if ip else {},
                detail={"reason": reason, **left_out},
            )
        )
        return True

    def log_breaker(self, event: str, model: str, reason: str | None) -> None:
        """Record that a breaker has opened, or closed."""
        detail = {"reason": reason} if reason else {}
        self.record(self._event(event, model=model, detail=detail))

    def log_waiting(self, waiting_bytes: int, *, is_over: bool) -> None:
        """Record that more waits on disk than should, or no longer."""
        detail = {"waiting_bytes": waiting_bytes, "host": socket.gethostname()}
        self.record(
            self._event(SPOOL_GROWING, detail=detail | ({"is_over": True} if is_over else {}))
        )

    # What LiteLLM says of a call, in signed events. Who made it is in the event of the request
    # itself: LiteLLM knows people by their pseudonyms only. Said again with the same ``event_id``
    # and time, it is on record once.

    async def log_litellm_request_start(
        self,
        request_id: str | None,
        model: str | None,
        timestamp: datetime,
        *,
        event_id: str | None = None,
    ) -> None:
        self.record(
            self._of_litellm("litellm_request_start", event_id, request_id, model, timestamp)
        )

    async def log_litellm_request_end(
        self,
        request_id: str | None,
        model: str | None,
        usage: Usage | None,
        cost_micro_usd: int | None,
        response_time_ms: int | None,
        timestamp: datetime,
        *,
        detail: Facts | None = None,
        event_id: str | None = None,
    ) -> None:
        event = self._of_litellm("litellm_request_end", event_id, request_id, model, timestamp)
        self.record(
            replace(
                event,
                usage=usage,
                cost_micro_usd=cost_micro_usd,
                latency_ms=response_time_ms,
                detail=detail or {},
            )
        )

    async def log_litellm_request_error(
        self,
        request_id: str | None,
        model: str | None,
        error: str,
        error_code: int | None,
        timestamp: datetime,
        *,
        event_id: str | None = None,
    ) -> None:
        """``error`` is a kind of error, never a message: those quote prompts and keys."""
        event = self._of_litellm("litellm_request_error", event_id, request_id, model, timestamp)
        self.record(replace(event, status=error_code, detail={"reason": error}))

    async def log_model_fallback(
        self,
        request_id: str | None,
        original_model: str | None,
        fallback_model: str | None,
        reason: str,
        timestamp: datetime,
        *,
        event_id: str | None = None,
    ) -> None:
        event = self._of_litellm("model_fallback", event_id, request_id, original_model, timestamp)
        self.record(replace(event, model_used=fallback_model, detail={"reason": reason}))

    async def log_rate_limit_hit(
        self,
        model: str | None,
        limit_type: str,
        current_usage: float | None,
        limit: float | None,
        timestamp: datetime,
        *,
        request_id: str | None = None,
        event_id: str | None = None,
    ) -> None:
        detail = {"limit_type": limit_type, "current_usage": current_usage, "limit": limit}
        event = self._of_litellm("rate_limit_hit", event_id, request_id, model, timestamp)
        self.record(replace(event, detail=detail))

    def _of_litellm(
        self,
        name: str,
        event_id: str | None,
        request_id: str | None,
        model: str | None,
        timestamp: datetime,
    ) -> AuditEvent:
        event = self._event(name, at=timestamp, request_id=request_id, model=model)
        return replace(event, event_id=event_id) if event_id else event

    def _event(self, name: str, **facts: Any) -> AuditEvent:
        known: dict[str, Any] = {"at": self._clock.now(), **facts}
        return AuditEvent(event_id=generate_request_id(), event=name, **known)

    def _record_call(self, event: AuditEvent) -> None:
        self.on_call(event)
        if event.status == UNAUTHENTICATED and not self._unauthenticated.has_room():
            return
        if left_out := self._unauthenticated.take_left_out():
            event = replace(event, detail={**event.detail, "unauthenticated_before": left_out})
        self.record(event)

    def _keep_text(self, trail: CallTrail) -> None:
        """Record the texts of a call in an event of their own, sealed beside the loop: the call's
        own must not wait for it."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # under WSGI, in a thread that may block
            self.record(self._sealed(trail))
            return
        task = loop.create_task(self._record_text(trail))
        self._sealing.add(task)
        task.add_done_callback(self._sealing.discard)

    async def _record_text(self, trail: CallTrail) -> None:
        self.record(await asyncio.to_thread(self._sealed, trail))

    def _sealed(self, trail: CallTrail) -> AuditEvent:
        event, caller = self._event(CONTENT, request_id=trail.request_id), trail.caller
        if caller is not None:
            event = replace(event, user=caller.user_id, team=caller.team, key=caller.key_name)
        if self._contents is None:
            return event
        prompt = orjson.dumps(trail.prompt, default=str).decode()
        return replace(
            event, content=self._contents.seal(event.event_id, prompt, trail.answer.text)
        )
