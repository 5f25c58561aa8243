"""The one way to Redis: answers within 200 ms, or does without.

Redis only ever holds what may be lost: shared health, short windows, calls under way. So its
absence is no error here. It costs those who ask at that moment their patience, once; from then on
nobody waits until a probe of our own has been answered.

What is asked while one batch is out goes together in the next: a trip costs more than a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from app.utils.clock import Clock

logger = logging.getLogger(__name__)

PATIENCE_S = 0.2
# After a failure it is asked this often whether it is back.
REST_S = 1.0
# Of commands that it refuses, junk under a key for one, the log hears this often.
COMPLAINT_S = 60.0
MAX_BATCH = 128

Commands = Callable[[Pipeline], object]
Answers = list[Any]


@dataclass(frozen=True, slots=True)
class _Waiting:
    commands: Commands
    answers: asyncio.Future[Answers | None]
    until_s: float


class RedisLink:
    """Runs batches of commands, in the order in which they came; used on the process's one loop."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._redis: Redis | None = None
        self._waiting: deque[_Waiting] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._complained_at_s = float("-inf")

    @property
    def is_away(self) -> bool:
        return self._probe is not None

    async def close(self) -> None:
        for task in (self._sender, self._probe):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._give_up()
        self._sender = self._probe = None
        if self._redis is not None:
            await self._redis.aclose()
            self._redis = None

    async def run(self, commands: Commands) -> Answers | None:
        """Run what ``commands`` adds to a pipeline, all at once; return the answers.

        None when Redis is away, and when it refuses one of them. After None they may have been
        run all the same.
        """
        return await self.submit(commands)

    def submit(self, commands: Commands) -> asyncio.Future[Answers | None]:
        """Put ``commands`` before any that come after; return what `run` does, to be awaited."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(commands, loop.create_future(), loop.time() + PATIENCE_S)
        if self.is_away:
            waiting.answers.set_result(None)
            return waiting.answers
        self._waiting.append(waiting)
        if self._sender is None:
            self._sender = loop.create_task(self._send_all(), name="redis")
        return waiting.answers

    async def _send_all(self) -> None:
        try:
            while self._waiting and not self.is_away:
                size = min(len(self._waiting), MAX_BATCH)
                batch = [self._waiting.popleft() for _ in range(size)]
                try:
                    await self._send(batch)
                finally:
                    _resolve_rest(batch)
        finally:
            self._sender = None

    async def _send(self, batch: list[_Waiting]) -> None:
        try:
            async with (
                asyncio.timeout_at(batch[0].until_s),
                self._client().pipeline() as pipeline,
            ):
                ends = [_add(pipeline, waiting) for waiting in batch]
                answers = await pipeline.execute(raise_on_error=False)
        except ResponseError as fault:
            # It is there, and will not: no memory, only a replica.
            self._complain(fault)
        except (RedisError, OSError, TimeoutError) as fault:
            self._lose(fault)
        except Exception:
            # Of ours: whoever asks next must still find somebody who sends.
            logger.exception("redis_batch_failed")
        else:
            self._tell(batch, ends, answers)

    def _tell(self, batch: list[_Waiting], ends: list[int], answers: Answers) -> None:
        begin = 0
        for waiting, end in zip(batch, ends, strict=True):
            own, begin = answers[begin:end], end
            fault = next((it for it in own if isinstance(it, Exception)), None)
            if fault is not None:
                self._complain(fault)
            elif not waiting.answers.done():
                waiting.answers.set_result(own)

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

    def _complain(self, fault: Exception) -> None:
        if self._clock.steady_s() - self._complained_at_s >= COMPLAINT_S:
            self._complained_at_s = self._clock.steady_s()
            logger.warning("redis_refuses", extra={"error_type": type(fault).__name__})

    def _lose(self, fault: Exception) -> None:
        logger.warning("redis_away", extra={"error_type": type(fault).__name__})
        self._probe = asyncio.get_running_loop().create_task(self._await_return(), name="redis")
        self._give_up()

    def _give_up(self) -> None:
        _resolve_rest(self._waiting)
        self._waiting.clear()

    async def _await_return(self) -> None:
        while True:
            await asyncio.sleep(REST_S)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._client().ping()
                break
        self._probe = None
        logger.info("redis_back")


def _add(pipeline: Pipeline, waiting: _Waiting) -> int:
    """Add its commands; return where its answers end."""
    waiting.commands(pipeline)
    return len(pipeline)


def _resolve_rest(batch: list[_Waiting] | deque[_Waiting]) -> None:
    """Nobody waits for ever: who has no answer by now gets none."""
    for waiting in batch:
        if not waiting.answers.done():
            waiting.answers.set_result(None)
