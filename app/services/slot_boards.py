"""Where all workers, on one machine or several, see who has how many calls under way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from redis.asyncio.client import Pipeline

from app.ledger.batcher import LedgerBatcher
from app.ledger.slot_store import SlotStore
from app.ledger.slots import Enter, Leave, SlotOperation, Stay
from app.services.redis_link import RedisLink
from app.utils.clock import Clock
from app.utils.exceptions import SolarisError

logger = logging.getLogger("ledger")

PREFIX = "solaris:calls:"
# A call that nobody keeps alive counts no more after this long.
SLOT_LIFETIME_S = 30.0
# Nobody waits longer for Postgres, and after a failure nobody asks it for so long.
POSTGRES_PATIENCE_S = 1.0
POSTGRES_REST_S = 5.0

# ARGV: milliseconds to live; calls that are known to be alive.
STAY = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function stay(first)
  for i = first, #ARGV do redis.call('ZADD', KEYS[1], now_ms() + ARGV[1], ARGV[i]) end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
"""
# ARGV: milliseconds to live; the limit; the call; others that are known to be alive.
ENTER = (
    STAY
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms())
stay(4)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
stay(3)
return 1
"""
)
STAY += "stay(2)"


class SlotBoard(Protocol):
    """Every call is known by a person and an id."""

    async def enter(self, person: str, call_id: str, own: Sequence[str], limit: int) -> bool | None:
        """Let a call in, or not; ``own`` are the person's other calls here, which are alive.

        None, when nobody can say; it may be in all the same.
        """

    async def leave(self, person: str, call_id: str) -> None: ...

    async def stay(self, calls: Mapping[str, Sequence[str]]) -> None:
        """Say that these are still under way, by person."""

    async def close(self) -> None: ...


class RedisSlots:
    """One sorted set a person: their calls, by when each counts no more."""

    def __init__(self, link: RedisLink, life_s: float = SLOT_LIFETIME_S) -> None:
        self._link = link
        self._life_ms = int(life_s * 1000)

    async def enter(self, person: str, call_id: str, own: Sequence[str], limit: int) -> bool | None:
        answers = await self._link.run(
            lambda pipeline: pipeline.eval(
                ENTER, 1, PREFIX + person, self._life_ms, limit, call_id, *own
            )
        )
        return None if answers is None else bool(answers[0])

    async def leave(self, person: str, call_id: str) -> None:
        await self._link.run(lambda pipeline: pipeline.zrem(PREFIX + person, call_id))

    async def stay(self, calls: Mapping[str, Sequence[str]]) -> None:
        def commands(pipeline: Pipeline) -> None:
            for person, call_ids in calls.items():
                pipeline.eval(STAY, 1, PREFIX + person, self._life_ms, *call_ids)

        if calls:
            await self._link.run(commands)

    async def close(self) -> None:
        """Leave the link to whoever made it."""


class PostgresSlots:
    """The same in Postgres, in micro-batches."""

    def __init__(self, store: SlotStore, clock: Clock, life_s: float = SLOT_LIFETIME_S) -> None:
        self._batcher: LedgerBatcher[SlotOperation, bool] = LedgerBatcher(store.apply)
        self._clock = clock
        self._life = timedelta(seconds=life_s)
        self._away_until_s = float("-inf")

    async def enter(self, person: str, call_id: str, own: Sequence[str], limit: int) -> bool | None:
        now = self._clock.now()
        wish = Enter(person, call_id, tuple(own), limit, now, now + self._life)
        return await self._run(wish)

    async def leave(self, person: str, call_id: str) -> None:
        await self._run(Leave(person, call_id))

    async def stay(self, calls: Mapping[str, Sequence[str]]) -> None:
        expires_at = self._clock.now() + self._life
        signs = [Stay(person, tuple(call_ids), expires_at) for person, call_ids in calls.items()]
        await asyncio.gather(*map(self._run, signs))

    async def close(self) -> None:
        await asyncio.to_thread(self._batcher.close)

    async def _run(self, operation: SlotOperation) -> bool | None:
        if self._clock.steady_s() < self._away_until_s:
            return None
        try:
            async with asyncio.timeout(POSTGRES_PATIENCE_S):
                return await self._batcher.run(operation)
        except (SolarisError, TimeoutError) as fault:
            self._away_until_s = self._clock.steady_s() + POSTGRES_REST_S
            logger.warning("slots_away", extra={"error_type": type(fault).__name__})
            return None
