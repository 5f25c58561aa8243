"""The one way to Redis: answers within 200 ms, or does without.

Redis only ever holds what may be lost: shared health, short windows, what was seen before. So its
absence is no error here, and costs a caller its patience once, not every time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.utils.clock import Clock

logger = logging.getLogger(__name__)

PATIENCE_S = 0.2
# After a failure nobody tries for this long.
REST_S = 1.0

Commands = Callable[[Pipeline], object]


class RedisLink:
    """Runs batches of commands; used on the process's one loop."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._redis: Redis | None = None
        self._away_until_s = float("-inf")
        self._is_away = False

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()
            self._redis = None

    async def run(self, commands: Commands) -> list[Any] | None:
        """Run what ``commands`` adds to a pipeline; return the answers, None when Redis is away."""
        if self._clock.steady_s() < self._away_until_s:
            return None
        try:
            async with asyncio.timeout(PATIENCE_S), self._client().pipeline() as pipeline:
                commands(pipeline)
                answers = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as fault:
            self._rest(fault)
            return None
        if self._is_away:
            self._is_away = False
            logger.info("redis_back")
        return list(answers)

    def _client(self) -> Redis:
        if self._redis is None:
            self._redis = Redis.from_url(
                self._url,
                socket_connect_timeout=PATIENCE_S,
                socket_timeout=PATIENCE_S,
                # Its default is ten tries.
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                # Foreign bytes are junk for whoever reads that one value, not for all.
                encoding_errors="replace",
            )
        return self._redis

    def _rest(self, fault: Exception) -> None:
        self._away_until_s = self._clock.steady_s() + REST_S
        if not self._is_away:
            self._is_away = True
            logger.warning("redis_away", extra={"error_type": type(fault).__name__})
