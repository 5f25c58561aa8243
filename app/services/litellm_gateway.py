"""LiteLLM as one service: its breaker, and another try where nothing was sent.

All models stand behind this one door. While it is shut, no model is to blame, and no other
model would help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from app.config.settings import LiteLLMSettings
from app.services.health_service import LITELLM, HealthService, ModelStatus, Refusal
from app.services.litellm_transport import Deadline, LiteLLMTransport, UpstreamAnswer
from app.utils.exceptions import LiteLLMUnreachableError


class LiteLLMGateway:
    def __init__(
        self, transport: LiteLLMTransport, health: HealthService, settings: LiteLLMSettings
    ) -> None:
        self._transport = transport
        self._health = health
        self._max_retries = settings.max_retries
        self._retry_delay_s = settings.retry_delay_s

    async def close(self) -> None:
        await self._transport.close()

    async def get(self, path: str, deadline: Deadline) -> UpstreamAnswer:
        """Ask one of LiteLLM's free endpoints; what comes of it counts for its breaker."""
        try:
            answer = await self._transport.get(path, deadline)
        except LiteLLMUnreachableError as error:
            self._health.record_failure(LITELLM, error.cause)
            raise
        self._health.record_alive(LITELLM)
        return answer

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], deadline: Deadline
    ) -> UpstreamAnswer:
        """Send ``body`` once, and connect as often as it takes.

        Raises: as `LiteLLMTransport.post`; LiteLLMUnreachableError at once while the breaker is
        open.
        """
        delay_s = self._retry_delay_s
        for _ in range(self._max_retries):
            try:
                return await self._try(path, body, headers, deadline)
            except LiteLLMUnreachableError:
                # No connection was made, so nothing reached a provider and nothing is paid twice.
                if deadline.left_s() <= delay_s or self._is_shut:
                    raise
            await asyncio.sleep(delay_s)
            delay_s *= 2
        return await self._try(path, body, headers, deadline)

    @property
    def _is_shut(self) -> bool:
        return self._health.of(LITELLM).status is ModelStatus.UNHEALTHY

    async def _try(
        self, path: str, body: bytes, headers: Mapping[str, str], deadline: Deadline
    ) -> UpstreamAnswer:
        permit = await self._health.admit(LITELLM)
        if isinstance(permit, Refusal):
            raise LiteLLMUnreachableError()
        try:
            answer = await self._transport.post(path, body, headers, deadline)
        except LiteLLMUnreachableError as error:
            permit.failed(error.cause)
            raise
        finally:
            permit.release()
        permit.succeeded()
        return answer
