"""Whether this worker should be sent requests; asked often, by load balancers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from app.services.key_store import KeyStore
from app.services.litellm_service import LiteLLMService
from app.services.redis_link import RedisLink
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError

# Anyone may ask, so asking must stay cheap.
REPORT_LIFETIME_S = 1.0
DRAIN_MARKER = "draining"


@dataclass(frozen=True, slots=True)
class Readiness:
    is_ready: bool
    checks: dict[str, str]


class ReadinessService:
    """Checks Postgres, LiteLLM and Redis, where there is one. Only Postgres away takes the worker
    out of the balancer: without LiteLLM callers would then read nginx's words instead of ours, and
    Redis is done without."""

    def __init__(
        self,
        store: KeyStore,
        litellm: LiteLLMService,
        redis: RedisLink | None,
        state_dir: Path,
        clock: Clock,
    ) -> None:
        self._store = store
        self._litellm = litellm
        self._redis = redis
        self._marker = state_dir / DRAIN_MARKER
        self._clock = clock
        self._checks: dict[str, str] = {}
        self._checked_at_s = float("-inf")

    async def report(self) -> Readiness:
        if self._clock.steady_s() - self._checked_at_s >= REPORT_LIFETIME_S:
            self._checks = await self._check()
            self._checked_at_s = self._clock.steady_s()
        draining = self._marker.exists()
        checks = self._checks | ({"draining": "yes"} if draining else {})
        return Readiness(self._checks["database"] == "ok" and not draining, checks)

    def drain(self, *, on: bool) -> None:
        """Tell balancers, through every worker on this machine, to send no more (or again)."""
        if on:
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            self._marker.touch()
        else:
            self._marker.unlink(missing_ok=True)

    async def _check(self) -> dict[str, str]:
        database, litellm, redis = await asyncio.gather(
            self._database(), self._litellm.is_reachable(), self._redis_state()
        )
        return {"database": database, "litellm": "ok" if litellm else "unreachable", **redis}

    async def _redis_state(self) -> dict[str, str]:
        if self._redis is None:
            return {}
        answers = await self._redis.run(lambda pipeline: pipeline.ping())
        return {"redis": "unreachable" if answers is None else "ok"}

    async def _database(self) -> str:
        try:
            await asyncio.to_thread(self._store.ping)
        except DatabaseUnavailableError:
            return "unreachable"
        return "ok"
