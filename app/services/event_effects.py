"""What follows from LiteLLM's events: they go on record in the trail.

Done again for the same event it leaves no second trace: the trail drops what it has by id and time,
and both are the event's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from app.dialects.base import Usage
from app.events.event import END, ERROR, FALLBACK, RATE_LIMIT, START, LiteLLMEvent
from app.services.audit_service import AuditService
from app.services.call_trail import UNKNOWN_MODEL
from app.utils.exceptions import SpoolUnavailableError

logger = logging.getLogger("events")

UNSPECIFIED = "unspecified"
# The trail's ids are requests' own, too: this keeps the two apart.
ID_PREFIX = "litellm."

Say = Callable[[LiteLLMEvent], Coroutine[Any, Any, None]]


class EventEffects:
    """For a thread. Events may come in any order: each stands for itself."""

    def __init__(self, audit: AuditService, is_model: Callable[[str], bool]) -> None:
        """``is_model`` tells which names are the catalogue's: others may be anything at all."""
        self._audit = audit
        self._is_model = is_model
        self._say: dict[str, Say] = {
            START: self._start,
            END: self._end,
            ERROR: self._error,
            FALLBACK: self._fallback,
            RATE_LIMIT: self._rate_limit,
        }

    def apply(self, events: Sequence[LiteLLMEvent]) -> None:
        """Raises: SpoolUnavailableError, where the trail takes nothing now; to be done again."""
        asyncio.run(self._say_all(events))
        if not self._audit.make_durable():
            raise SpoolUnavailableError()

    async def _say_all(self, events: Sequence[LiteLLMEvent]) -> None:
        for event in events:
            try:
                await self._say[event.event_type](event)
            except Exception:
                # One that can never be said must not keep the others from it.
                logger.exception("event_without_effect", extra={"id": event.id})

    async def _start(self, it: LiteLLMEvent) -> None:
        await self._audit.log_litellm_request_start(
            it.request_id, self._model(it.model), it.at, event_id=_id_of(it)
        )

    async def _end(self, it: LiteLLMEvent) -> None:
        counted = it.input_tokens is not None or it.output_tokens is not None
        usage = Usage(it.input_tokens or 0, it.output_tokens or 0) if counted else None
        facts = {"status": it.status, "provider": it.provider, "cached": it.is_cached or None}
        await self._audit.log_litellm_request_end(
            it.request_id,
            self._model(it.model),
            usage,
            it.cost_micro_usd,
            it.response_time_ms,
            it.at,
            detail={name: value for name, value in facts.items() if value is not None},
            event_id=_id_of(it),
        )

    async def _error(self, it: LiteLLMEvent) -> None:
        code = it.detail.get("error_code")
        await self._audit.log_litellm_request_error(
            it.request_id,
            self._model(it.model),
            it.detail.get("error") or UNSPECIFIED,
            code if isinstance(code, int) else None,
            it.at,
            event_id=_id_of(it),
        )

    async def _fallback(self, it: LiteLLMEvent) -> None:
        await self._audit.log_model_fallback(
            it.request_id,
            self._model(it.model),
            self._model(it.model_used),
            it.detail.get("reason") or UNSPECIFIED,
            it.at,
            event_id=_id_of(it),
        )

    async def _rate_limit(self, it: LiteLLMEvent) -> None:
        await self._audit.log_rate_limit_hit(
            self._model(it.model),
            it.detail.get("limit_type") or UNSPECIFIED,
            it.detail.get("current_usage"),
            it.detail.get("limit"),
            it.at,
            request_id=it.request_id,
            event_id=_id_of(it),
        )

    def _model(self, name: str | None) -> str | None:
        return name if name is None or self._is_model(name) else UNKNOWN_MODEL


def _id_of(event: LiteLLMEvent) -> str:
    return f"{ID_PREFIX}{event.id}"
