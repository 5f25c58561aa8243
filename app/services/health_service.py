"""How each model is doing, learned from the calls that people really make.

A model that fails again and again is left out until its cooldown is over; then one call tries it.
A provider's 429 leaves it out for as long as the provider says. A caller's own mistake, or a
caller who leaves, is no outcome of the model's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol

from app.config.catalog import HealthPolicy
from app.services.breaker import Breaker, BreakerState
from app.services.outcome_window import Outcomes, OutcomeWindow
from app.utils.clock import Clock

logger = logging.getLogger("health")

# LiteLLM itself, the one door to every model, has a breaker of its own under this name.
LITELLM = "@litellm"
# Where a provider's 429 names no time.
RATE_LIMIT_S = 5.0
BREAKER_OPENED, BREAKER_CLOSED = "breaker_opened", "breaker_closed"

# (what happened, model, why)
BreakerListener = Callable[[str, str, str | None], None]


def _no_listener(_event: str, _model: str, _reason: str | None) -> None:
    pass


class ModelStatus(Enum):
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    RATE_LIMITED = "rate_limited"
    # Nothing is known of it yet, or LiteLLM does not offer it.
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """What is known of one model; times are wall-clock, UTC."""

    status: ModelStatus = ModelStatus.UNAVAILABLE
    # Why it is not well, as an error code, and since when.
    reason: str | None = None
    since: datetime | None = None
    last_check: datetime | None = None
    outcomes: Outcomes = field(default_factory=Outcomes)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a model must not be asked now; ``left_s`` is for how long, where that is known."""

    reason: str
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of one model's breaker, as workers tell it each other."""

    opened_at_s: float | None
    limited_until_s: float
    reason: str | None
    at_s: float


class HealthBoard(Protocol):
    """Where workers share what they learn."""

    async def take_trial(self, model: str) -> bool:
        """Tell whether this worker may try a model; one of all workers may."""

    def give_trial_back(self, model: str) -> None:
        """Let another worker try, since nothing came of this trial."""

    def publish(self, model: str, verdict: Verdict) -> None:
        """Tell the others, soon; ends the trial."""

    def note_failure(self, model: str) -> None:
        """Count a failure towards the threshold that all workers share."""

    def note_success(self, model: str) -> None:
        """Take back the failures that were counted."""

    def others(self, model: str) -> Outcomes:
        """Return the outcomes of the other workers."""


class NoBoard:
    """Without Redis each worker learns alone."""

    async def take_trial(self, model: str) -> bool:  # noqa: ARG002  # as the protocol has it
        return True

    def give_trial_back(self, model: str) -> None:
        pass

    def publish(self, model: str, verdict: Verdict) -> None:
        pass

    def note_failure(self, model: str) -> None:
        pass

    def note_success(self, model: str) -> None:
        pass

    def others(self, model: str) -> Outcomes:  # noqa: ARG002
        return Outcomes()


@dataclass(slots=True)
class _Record:
    breaker: Breaker
    window: OutcomeWindow = field(default_factory=OutcomeWindow)
    is_known: bool = False
    limited_until_s: float = 0.0
    reason: str | None = None
    last_check: datetime | None = None
    told_at_s: float = 0.0
    # Failures in a row that all workers together have seen.
    shared_failures: int = 0


class Permit:
    """Leave to make one call; its outcome is told here, once or not at all."""

    def __init__(
        self, health: HealthService, model: str, *, is_trial: bool, number: int = 0
    ) -> None:
        self._health = health
        self._model = model
        self._is_trial = is_trial
        # Of the trial: one that took too long has been given to another.
        self._number = number

    def succeeded(self) -> None:
        """The model answers; how long the whole call takes is told when it is over."""
        self._is_trial = False
        self._health.record_alive(self._model)

    def failed(self, reason: str) -> None:
        is_trial = self._is_trial and self._health.is_current_trial(self._model, self._number)
        self._is_trial = False
        self._health.record_failure(self._model, reason, is_trial=is_trial)

    def rate_limited(self, retry_after_s: float | None) -> None:
        """The model is there, only busy; a trial leaves it to another to find out more."""
        self._health.record_rate_limit(self._model, retry_after_s)
        self.release()

    def release(self) -> None:
        """Give the leave back, without a verdict where none was told."""
        if self._is_trial:
            self._is_trial = False
            if self._health.is_current_trial(self._model, self._number):
                self._health.abandon(self._model)


class HealthService:
    """Remembers outcomes by model, and says who may be asked."""

    def __init__(
        self,
        policy: HealthPolicy,
        clock: Clock,
        board: HealthBoard | None = None,
        listener: BreakerListener = _no_listener,
    ) -> None:
        """``listener`` is told when a breaker of this process opens, and why, or closes."""
        self._listener = listener
        self._policy = policy
        self._clock = clock
        self._board: HealthBoard = board or NoBoard()
        self._records: dict[str, _Record] = {}

    def of(self, model: str) -> ModelHealth:
        record = self._records.get(model)
        if record is None:
            return ModelHealth()
        status = self._status(record)
        is_well = status in (ModelStatus.HEALTHY, ModelStatus.UNAVAILABLE)
        outcomes = record.window.totals(self._now_s())
        outcomes.add(self._board.others(model))
        opened_at_s = record.breaker.opened_at_s
        return ModelHealth(
            status=status,
            reason=None if is_well else record.reason,
            since=datetime.fromtimestamp(opened_at_s, UTC) if opened_at_s else None,
            last_check=record.last_check,
            outcomes=outcomes,
        )

    async def admit(self, model: str) -> Permit | Refusal:
        """Return leave to call ``model``, or why not now."""
        record, now_s = self._record(model), self._now_s()
        if record.limited_until_s > now_s:
            return Refusal("rate_limited", record.limited_until_s - now_s)
        is_trial = record.breaker.state(now_s) is not BreakerState.CLOSED
        if not record.breaker.admit(now_s):
            return Refusal("breaker_open")
        if is_trial and not await self._is_ours_to_try(model, record):
            return Refusal("breaker_open")
        return Permit(self, model, is_trial=is_trial, number=record.breaker.trials)

    def peek(self, model: str) -> Refusal | None:
        """Say why `admit` would refuse now, and take no leave; another worker may be trying."""
        record = self._records.get(model)
        if record is None:
            return None
        now_s = self._now_s()
        if record.limited_until_s > now_s:
            return Refusal("rate_limited", record.limited_until_s - now_s)
        return None if record.breaker.would_admit(now_s) else Refusal("breaker_open")

    async def _is_ours_to_try(self, model: str, record: _Record) -> bool:
        is_ours = False
        try:
            is_ours = await self._board.take_trial(model)
        finally:
            # Also where the call that was to try has left meanwhile.
            if not is_ours:
                record.breaker.abandon()
        return is_ours

    def record_alive(self, model: str) -> None:
        record = self._record(model)
        record.is_known = True
        record.last_check = self._clock.now()
        has_failed = record.breaker.failures_in_a_row or record.shared_failures
        if record.breaker.succeed():
            self._closed(model)
            self._tell(model, record)
        if has_failed:
            record.shared_failures = 0
            self._board.note_success(model)

    def record_success(self, model: str, response_time_ms: int) -> None:
        self.record_alive(model)
        self._record(model).window.add(Outcomes(1, 0, response_time_ms), self._now_s())

    def record_failure(self, model: str, reason: str, *, is_trial: bool = False) -> None:
        record, now_s = self._failed(model, reason)
        was_open = record.breaker.opened_at_s is not None
        if record.breaker.fail(now_s, is_trial=is_trial):
            self._opened(model, record, was_open=was_open)
        elif not was_open:
            self._board.note_failure(model)

    def record_rate_limit(self, model: str, retry_after_s: float | None) -> None:
        record, now_s = self._failed(model, "rate_limited")
        record.limited_until_s = now_s + (retry_after_s or RATE_LIMIT_S)
        self._tell(model, record)

    def is_current_trial(self, model: str, number: int) -> bool:
        return self._record(model).breaker.trials == number

    def abandon(self, model: str) -> None:
        self._record(model).breaker.abandon()
        self._board.give_trial_back(model)

    def record_offered(self, offered: set[str], all_models: set[str]) -> None:
        """Take note of what LiteLLM lists: such a model is well until a call shows otherwise."""
        for name in all_models:
            record = self._record(name)
            record.is_known = name in offered
            record.last_check = self._clock.now()

    def adopt(self, model: str, verdict: Verdict) -> None:
        """Believe another worker that has learned something newer."""
        record = self._record(model)
        if verdict.at_s > record.told_at_s:
            record.told_at_s = verdict.at_s
            record.reason = verdict.reason
            record.limited_until_s = verdict.limited_until_s
            record.breaker.opened_at_s = verdict.opened_at_s
            record.breaker.failures_in_a_row = 0

    def share_failures(self, model: str, failures: int) -> None:
        """Take note of how many failures in a row all workers together have seen."""
        record = self._record(model)
        record.shared_failures = failures
        is_closed = record.breaker.opened_at_s is None
        if is_closed and failures >= self._policy.unhealthy_threshold:
            record.breaker.opened_at_s = self._now_s()
            self._opened(model, record, was_open=False)

    def own_outcomes(self) -> dict[str, Outcomes]:
        """Return what this worker itself has seen, by model."""
        now_s = self._now_s()
        totals = {model: record.window.totals(now_s) for model, record in self._records.items()}
        return {model: outcomes for model, outcomes in totals.items() if outcomes.requests}

    def forget(self) -> None:
        for model, record in self._records.items():
            if record.breaker.succeed():
                self._closed(model)
            record.limited_until_s = 0.0
            self._tell(model, record)
            self._board.note_success(model)
        self._records.clear()

    def count(self, status: ModelStatus) -> int:
        models = (record for name, record in self._records.items() if name != LITELLM)
        return sum(self._status(record) is status for record in models)

    def _status(self, record: _Record) -> ModelStatus:
        now_s = self._now_s()
        if record.limited_until_s > now_s:
            return ModelStatus.RATE_LIMITED
        if record.breaker.opened_at_s is not None:
            return ModelStatus.UNHEALTHY
        return ModelStatus.HEALTHY if record.is_known else ModelStatus.UNAVAILABLE

    def _failed(self, model: str, reason: str) -> tuple[_Record, float]:
        record, now_s = self._record(model), self._now_s()
        record.last_check = self._clock.now()
        record.reason = reason
        record.window.add(Outcomes(1, 1, 0), now_s)
        return record, now_s

    def _opened(self, model: str, record: _Record, *, was_open: bool) -> None:
        if not was_open:
            logger.error("breaker_opened", extra={"model": model, "reason": record.reason})
            self._listener(BREAKER_OPENED, model, record.reason)
        self._tell(model, record)

    def _closed(self, model: str) -> None:
        logger.warning("breaker_closed", extra={"model": model})
        self._listener(BREAKER_CLOSED, model, None)

    def _tell(self, model: str, record: _Record) -> None:
        record.told_at_s = self._now_s()
        verdict = Verdict(
            record.breaker.opened_at_s, record.limited_until_s, record.reason, record.told_at_s
        )
        self._board.publish(model, verdict)

    def _record(self, model: str) -> _Record:
        record = self._records.get(model)
        if record is None:
            breaker = Breaker(self._policy.unhealthy_threshold, self._policy.cooldown_s)
            record = self._records[model] = _Record(breaker)
        return record

    def _now_s(self) -> float:
        return self._clock.now().timestamp()
