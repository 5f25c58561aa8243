"""What workers, on one machine or several, tell each other of the models' health, through Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import orjson
from redis.asyncio.client import Pipeline

from app.services.breaker import TRIAL_LIFETIME_S
from app.services.health_service import LITELLM, HealthBoard, HealthService, Verdict
from app.services.outcome_window import Outcomes
from app.services.redis_link import RedisLink
from app.utils.clock import Clock

logger = logging.getLogger("health")

# What others learn is known here after this long at most; what is learned here is told at once.
SYNC_S = 1.0
# Failures further apart than this are not in a row.
FAILURES_LIFETIME_S = 60
# A worker that has said nothing for this long is gone.
WORKER_LIFETIME_S = 30.0

PREFIX = "solaris:health:"
VERDICTS, OUTCOMES = PREFIX + "verdicts", PREFIX + "outcomes"


@dataclass(slots=True)
class _Count:
    """Failures in a row that are to be told; ``begins_anew`` where a success came before them."""

    failures: int = 0
    begins_anew: bool = False

    def after(self, older: _Count) -> _Count:
        """Return both together, this one being the later."""
        if self.begins_anew:
            return self
        return _Count(older.failures + self.failures, older.begins_anew)

    def add_to(self, pipeline: Pipeline, key: str) -> None:
        if self.begins_anew:
            pipeline.delete(key)
        if self.failures:
            pipeline.incrby(key, self.failures)
            pipeline.expire(key, FAILURES_LIFETIME_S)


@dataclass(slots=True)
class _Outbox:
    """What has not been told yet."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    counts: dict[str, _Count] = field(default_factory=dict)
    ended_trials: set[str] = field(default_factory=set)

    def add_to(self, pipeline: Pipeline) -> None:
        for model, verdict in self.verdicts.items():
            pipeline.hset(VERDICTS, model, _pack_verdict(verdict))
        for model in self.ended_trials:
            pipeline.delete(_trial_key(model))
        for model, count in self.counts.items():
            count.add_to(pipeline, _failures_key(model))

    def put_back(self, older: _Outbox) -> None:
        """Keep what could not be told; what was learned meanwhile is newer."""
        self.verdicts = older.verdicts | self.verdicts
        for model, count in older.counts.items():
            self.counts[model] = self.counts.get(model, _Count()).after(count)
        self.ended_trials |= older.ended_trials


class SharedHealth(HealthBoard):
    """A HealthBoard in Redis. While Redis is away each worker learns alone."""

    def __init__(self, link: RedisLink, models: Iterable[str], clock: Clock) -> None:
        self._link = link
        self._models = (*models, LITELLM)
        self._clock = clock
        self._worker = secrets.token_hex(8)
        self._outbox = _Outbox()
        self._wake = asyncio.Event()
        self._others: dict[str, Outcomes] = {}
        self._task: asyncio.Task[None] | None = None

    async def open(self, health: HealthService) -> None:
        """Start telling and listening."""
        self._task = asyncio.create_task(self._keep_in_step(health), name="shared-health")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def take_trial(self, model: str) -> bool:
        life_ms = int(TRIAL_LIFETIME_S * 1000)
        answers = await self._link.run(
            lambda pipeline: pipeline.set(_trial_key(model), self._worker, nx=True, px=life_ms)
        )
        # Redis away: better one trial a worker than none at all.
        return answers is None or bool(answers[0])

    def give_trial_back(self, model: str) -> None:
        self._outbox.ended_trials.add(model)
        self._wake.set()

    def publish(self, model: str, verdict: Verdict) -> None:
        self._outbox.verdicts[model] = verdict
        self.give_trial_back(model)

    def note_failure(self, model: str) -> None:
        self._outbox.counts.setdefault(model, _Count()).failures += 1
        self._wake.set()

    def note_success(self, model: str) -> None:
        self._outbox.counts[model] = _Count(begins_anew=True)
        self._wake.set()

    def others(self, model: str) -> Outcomes:
        return self._others.get(model) or Outcomes()

    async def _keep_in_step(self, health: HealthService) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), SYNC_S)
            self._wake.clear()
            try:
                await self._exchange(health)
            except Exception:
                # Foreign bytes in Redis must not end the exchange for good.
                logger.exception("health_exchange_failed")

    async def _exchange(self, health: HealthService) -> None:
        outbox, self._outbox = self._outbox, _Outbox()
        own = _pack(health.own_outcomes(), self._clock.now().timestamp())

        def commands(pipeline: Pipeline) -> None:
            outbox.add_to(pipeline)
            pipeline.hset(OUTCOMES, self._worker, own)
            pipeline.hgetall(VERDICTS)
            pipeline.mget([_failures_key(model) for model in self._models])
            pipeline.hgetall(OUTCOMES)

        answers = await self._link.run(commands)
        if answers is None:
            self._outbox.put_back(outbox)
            return
        verdicts, failures, outcomes = answers[-3:]
        for model, number in zip(self._models, failures, strict=True):
            if verdict := _unpack_verdict(verdicts.get(model)):
                health.adopt(model, verdict)
            if not self._has_succeeded_since(model):
                health.share_failures(model, _number(number))
        await self._add_up(outcomes)

    def _has_succeeded_since(self, model: str) -> bool:
        """Tell whether a count that was just read is from before a success of our own."""
        untold = self._outbox.counts.get(model)
        return untold is not None and untold.begins_anew

    async def _add_up(self, packed_by_worker: dict[str, str]) -> None:
        oldest_s = self._clock.now().timestamp() - WORKER_LIFETIME_S
        self._others, useless = {}, []
        for worker, packed in packed_by_worker.items():
            outcomes = _unpack(packed, oldest_s)
            if outcomes is None:
                useless.append(worker)
            elif worker != self._worker:
                for model, sums in outcomes.items():
                    self._others.setdefault(model, Outcomes()).add(sums)
        if useless:
            await self._link.run(lambda pipeline: pipeline.hdel(OUTCOMES, *useless))


def _trial_key(model: str) -> str:
    return f"{PREFIX}trial:{model}"


def _failures_key(model: str) -> str:
    return f"{PREFIX}failures:{model}"


def _pack(outcomes: dict[str, Outcomes], at_s: float) -> str:
    models = {m: [o.requests, o.failures, o.latency_ms] for m, o in outcomes.items()}
    return orjson.dumps({"at_s": at_s, "models": models}).decode()


def _pack_verdict(verdict: Verdict) -> str:
    return orjson.dumps(
        [verdict.opened_at_s, verdict.limited_until_s, verdict.reason, verdict.at_s]
    ).decode()


def _unpack_verdict(packed: str | None) -> Verdict | None:
    """Return a verdict, or None for what is none: junk, or another version's."""
    content = _parsed(packed)
    if not isinstance(content, list) or len(content) != len(fields(Verdict)):
        return None
    opened_at_s, limited_until_s, reason, at_s = content
    numbers = (
        (limited_until_s, at_s) if opened_at_s is None else (opened_at_s, limited_until_s, at_s)
    )
    is_sound = all(map(_is_number, numbers)) and (reason is None or isinstance(reason, str))
    return Verdict(opened_at_s, limited_until_s, reason, at_s) if is_sound else None


def _unpack(packed: str, oldest_s: float) -> dict[str, Outcomes] | None:
    """Return a worker's outcomes by model; None of one that is gone, and for junk."""
    content = _parsed(packed)
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, dict) or not _is_number(content.get("at_s", None)):
        return None
    if content["at_s"] < oldest_s:
        return None
    try:
        return {model: _outcomes(sums) for model, sums in models.items()}
    except ValueError:
        return None


def _outcomes(sums: object) -> Outcomes:
    """Raises: ValueError, for anything but three whole numbers."""
    if not isinstance(sums, list) or len(sums) != 3 or not all(type(it) is int for it in sums):
        raise ValueError(sums)
    return Outcomes(*sums)


def _parsed(packed: str | None) -> Any:
    try:
        return orjson.loads(packed) if packed else None
    except orjson.JSONDecodeError:
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: str | None) -> int:
    return int(value) if value and value.isdecimal() else 0
