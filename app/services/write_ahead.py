"""Keeps a stream's checkpoint ahead of what its caller is given.

A worker may die at any moment. What its stream is charged then is the last checkpoint, so that none
of the answer may pass before a checkpoint that covers it is committed: asked for early, and waited
for only where the answer has overtaken it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

# What the reservation itself covers of the answer, and the least that a checkpoint is ahead.
ALLOWANCE_TOKENS = 64
# A checkpoint is ahead by what came in the last second, and asked for when this part is left.
PART_LEFT = 4

Commit = Callable[[int], Awaitable[None]]


class WriteAhead:
    """One stream's; ``commit`` makes a checkpoint of so many output tokens durable.

    ``most`` is what was asked for: no checkpoint is above it, unless the answer is. By events an
    answer may be counted a little long, so only what is an allowance longer counts as that.
    """

    def __init__(self, commit: Commit, now_s: Callable[[], float], most: int = sys.maxsize) -> None:
        self._commit = commit
        self._now_s = now_s
        self._most = most
        self._covered = ALLOWANCE_TOKENS
        self._asked: asyncio.Future[None] | None = None
        self._last_tokens = 0
        self._last_at_s = now_s()
        # From so many received tokens on, `cover` wants to be called.
        self.due = self._covered - ALLOWANCE_TOKENS // PART_LEFT

    async def cover(self, received_tokens: int) -> None:
        """Return when what was received may be passed on."""
        if self._asked is None or self._asked.done():
            self._ask(received_tokens)
        while received_tokens > self._covered:
            await asyncio.shield(self._asked or self._ask(received_tokens))

    def _ask(self, received_tokens: int) -> asyncio.Future[None]:
        allowance = max(ALLOWANCE_TOKENS, self._in_the_last_second(received_tokens))
        checkpoint = covering = received_tokens + allowance
        self.due = covering - allowance // PART_LEFT
        tolerated = self._most + ALLOWANCE_TOKENS
        if received_tokens <= tolerated and covering >= self._most:
            checkpoint, covering = self._most, tolerated
            self.due = tolerated + 1
        self._asked = asyncio.ensure_future(self._advance(checkpoint, covering))
        return self._asked

    async def _advance(self, checkpoint: int, covering: int) -> None:
        await self._commit(checkpoint)
        self._covered = covering
        self._asked = None

    def _in_the_last_second(self, received_tokens: int) -> int:
        now_s = self._now_s()
        passed_s = max(now_s - self._last_at_s, 1.0)
        rate = (received_tokens - self._last_tokens) / passed_s
        self._last_tokens, self._last_at_s = received_tokens, now_s
        return int(rate)
