"""Watches what is counted, and has administrators told of it; what is told, and when, is in
`app/alerting/rules.py`, how an alert goes on in `app/alerting/state.py`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from app.alerting import store
from app.alerting.budgets import budgets_seen, places_of
from app.alerting.message import Message
from app.alerting.outbox import Outbox
from app.alerting.rules import (
    BUCKET_S,
    DIGEST_EVERY_S,
    MODEL_ERRORS,
    MODEL_FALLBACKS,
    MOST_MESSAGES_AT_ONCE,
    RULES,
    SECURITY_INCIDENT,
    Rule,
)
from app.alerting.signals import Kind, Signal, code_of, name_of, rate_limit_signal
from app.alerting.state import Alert, Seen, acknowledge, advance, digest_of, last_above, present
from app.alerting.store import Counts, Key
from app.audit.store import transaction
from app.config.quiet_hours import QuietHours
from app.ledger.gauges import read_gauges
from app.services.actions import RecordAction, unrecorded
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError, NotFoundError

logger = logging.getLogger("alerts")

# All workers together look about so often.
LOOK_EVERY_S = 5.0
BUDGETS_EVERY_S = 30.0
FORGET_EVERY_S = 600.0
# Of a timer that is a little early.
SLACK_S = 1.0
MOST_LISTED = 1000
CLOSE_PATIENCE_S = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class AlertNotFoundError(NotFoundError):
    """There is no such alert, or it is over."""


@dataclass(slots=True)
class _Look:
    """One look at everything, within one transaction."""

    cursor: Any
    now: datetime
    is_quiet: bool
    new_id: Callable[[], str]
    # Of each rule and subject the one that lasts, else the last one.
    alerts: dict[Key, Alert] = field(default_factory=dict)
    # Over, but not told of altogether.
    former: list[Alert] = field(default_factory=list)
    changed: dict[str, Alert] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    seen: set[Key] = field(default_factory=set)

    def load(self) -> None:
        for alert in store.load(self.cursor, self.now):
            key = (alert.rule, alert.subject)
            if key in self.alerts:
                self._replace(alert, key)
            else:
                self.alerts[key] = alert

    def _replace(self, alert: Alert, key: Key) -> None:
        """Keep the one that lasts; there is one at most. Else the later."""
        other = self.alerts[key]
        kept, left = (other, alert) if other.is_live else (alert, other)
        self.alerts[key] = kept
        self.former.append(left)

    def live(self) -> dict[Key, Alert]:
        return {key: it for key, it in self.alerts.items() if it.is_live}

    def advance(self, key: Key, seen: Seen) -> None:
        rule = RULES.get(key[0])
        if rule is None:
            return
        self.seen.add(key)
        last = self.alerts.get(key)
        alert = present(last, rule, key[1], self.now, self.new_id())
        after, messages = advance(
            alert, seen, rule, self.now, is_hushed=self.is_quiet or self._is_enough(rule)
        )
        self.messages += messages
        if after == alert:
            return
        if last is not None and last.id != after.id:
            self.former.append(last)
        self._keep(after, key)

    def digest(self) -> None:
        everything = [*self.former, *self.alerts.values()]
        told, messages = digest_of(
            everything, self.now, f"digest-{self.new_id()}", is_quiet=self.is_quiet
        )
        if messages and store.is_due(self.cursor, "digest", self.now, DIGEST_EVERY_S - SLACK_S):
            self.messages += messages
            for it in told:
                self.changed[it.id] = it

    def _keep(self, alert: Alert, key: Key) -> None:
        self.alerts[key] = self.changed[alert.id] = alert

    def _is_enough(self, rule: Rule) -> bool:
        return sum(it.rule == rule.name for it in self.messages) >= MOST_MESSAGES_AT_ONCE


class AlertService:
    """One instance a process; one process at a time looks. `look`, `acknowledge` and `listed`
    block: for a thread, or the command line."""

    def __init__(
        self,
        engine: Engine,
        outbox: Outbox,
        clock: Clock,
        zone: ZoneInfo,
        quiet_hours: QuietHours | None = None,
        record: RecordAction = unrecorded,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._engine = engine
        self._outbox = outbox
        self._clock = clock
        self._zone = zone
        self._quiet_hours = quiet_hours
        self._record = record
        self._look_every_s = look_every_s
        # Its own: a Postgres that hangs holds nobody else's.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alerts")
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_away = False

    async def open(self) -> None:
        """Start to look, until closed."""
        self._closing.clear()
        self._task = asyncio.create_task(self._keep_looking(), name="alerts")

    async def close(self) -> None:
        self._closing.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=CLOSE_PATIENCE_S)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task])
            self._task = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def send_model_error_alert(self, model: str, error: str) -> None:
        """Have it told that a model fails. ``error`` is a code; a text is not told.

        Raises: DatabaseUnavailableError.
        """
        await self._raise(self._of_model(MODEL_ERRORS, model, error))

    async def send_model_fallback_alert(self, original_model: str, reason: str) -> None:
        """Have it told that another model answers for this one. ``reason`` is a code.

        Raises: DatabaseUnavailableError.
        """
        await self._raise(self._of_model(MODEL_FALLBACKS, original_model, reason))

    async def send_rate_limit_alert(
        self, model: str, limit_type: str, current_usage: float | None, limit: float | None
    ) -> None:
        """Have it told that a limit was reached: rpm, tpm, budget or parallel.

        Raises: DatabaseUnavailableError.
        """
        found = rate_limit_signal(model, limit_type, self._clock.now(), current_usage, limit)
        facts = {"count": 1, "window_s": RULES[found.rule].within_s, **found.facts}
        await self._raise(replace(found, kind=Kind.BEGUN, facts=facts))

    def look(self, *, is_timed: bool = False) -> list[Message] | None:
        """Look at what is new, and put what is to be told into the outbox, all in one transaction;
        return it. None where another looks just now, or, if ``is_timed``, has just looked.

        Raises: DatabaseUnavailableError.
        """
        now = self._clock.now()
        with transaction(self._engine) as cursor:
            if not store.begin(cursor):
                return None
            every_s = self._look_every_s - SLACK_S
            if is_timed and not store.is_due(cursor, "look", now, every_s):
                return None
            look = _Look(cursor, now, self._is_quiet(now), _new_id)
            self._look(look)
            store.save(cursor, list(look.changed.values()))
            self._outbox.add(cursor, look.messages)
        for it in look.messages:
            # Not the subject: it may be a person's name.
            logger.warning("alert", extra={"message_id": it.id, "kind": it.kind, "rule": it.rule})
        return look.messages

    def acknowledge(self, alert_id: str) -> Alert:
        """Silence an alert until it is over, or worse; it goes on record.

        Raises: AlertNotFoundError, DatabaseUnavailableError.
        """
        with transaction(self._engine) as cursor:
            alert = store.one(cursor, alert_id)
            if alert is None or not alert.is_live:
                raise AlertNotFoundError(alert_id)
            alert = acknowledge(alert, actor_var.get(), self._clock.now())
            store.save(cursor, [alert])
        # Not the subject: it may be a person's name, and could never be erased.
        self._record("alert_acknowledged", alert=alert.id, rule=alert.rule)
        return alert

    def listed(self, *, with_past: bool = False) -> list[Alert]:
        """Return the alerts that last, and those that are over if asked; the latest first.

        Raises: DatabaseUnavailableError.
        """
        return self.page(MOST_LISTED, with_past=with_past)[0]

    def page(
        self, limit: int, *, with_past: bool = False, after: tuple[datetime, str] | None = None
    ) -> tuple[list[Alert], tuple[datetime, str] | None]:
        """As `listed`, so many at most after another; and the last one's place, if more follow.

        Raises: DatabaseUnavailableError.
        """
        with transaction(self._engine) as cursor:
            found = store.listed(cursor, limit + 1, with_past=with_past, after=after)
        shown = found[:limit]
        is_more = len(found) > limit
        return shown, (shown[-1].opened_at, shown[-1].id) if is_more else None

    def _look(self, look: _Look) -> None:
        look.load()
        for key, counts in store.take_counts(look.cursor).items():
            if key[0] in RULES:
                look.advance(key, _seen_of(counts, RULES[key[0]], key[1]))
        for signal in store.take_signals(look.cursor):
            look.advance((signal.rule, signal.subject), _seen_in(signal))
        if store.is_due(look.cursor, "budgets", look.now, BUDGETS_EVERY_S - SLACK_S):
            self._look_at_budgets(look)
        for key in look.live().keys() - look.seen:
            # What is not counted lasts until it is said to be over.
            look.advance(key, Seen(is_on=not RULES[key[0]].is_counted))
        look.digest()
        if store.is_due(look.cursor, "forget", look.now, FORGET_EVERY_S - SLACK_S):
            store.forget(look.cursor, look.now)

    def _look_at_budgets(self, look: _Look) -> None:
        told = look.live()
        gauges = read_gauges(look.cursor, look.now, self._zone, places_of(told.values()))
        for key, seen in budgets_seen(gauges, told, look.now, self._zone).items():
            look.advance(key, seen)

    def _is_quiet(self, now: datetime) -> bool:
        local = now.astimezone(self._zone).time()
        return self._quiet_hours is not None and self._quiet_hours.contain(local)

    def _of_model(self, rule: str, model: str, reason: str) -> Signal:
        name = name_of(model)
        facts = {"model": name, "count": 1, "window_s": RULES[rule].within_s}
        facts["reason"] = code_of(reason)
        return Signal(rule, name, self._clock.now(), Kind.BEGUN, facts=facts)

    async def _raise(self, signal: Signal) -> None:
        def add() -> None:
            with transaction(self._engine) as cursor:
                store.add_signals(cursor, [signal])

        await self._ask(add)

    async def _keep_looking(self) -> None:
        while not self._closing.is_set():
            try:
                await self._ask(self.look, is_timed=True)
                self._note(away_for=None)
            except DatabaseUnavailableError as error:
                self._note(away_for=error)
            except Exception as fault:  # noqa: BLE001  # nothing ends this but its process
                logger.error("alert_look_failed", extra={"error_type": type(fault).__name__})  # noqa: TRY400  # a trace may quote names
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._look_every_s):
                await self._closing.wait()
        except TimeoutError:
            return

    def _note(self, away_for: DatabaseUnavailableError | None) -> None:
        if away_for is not None and not self._is_away:
            kind = type(away_for.__cause__).__name__
            logger.warning("alerts_wait_for_database", extra={"fault": kind})
        self._is_away = away_for is not None

    async def _ask(self, query: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: query(*args, **kwargs))


def _seen_of(counts: Counts, rule: Rule, subject: str) -> Seen:
    """Return what was counted, and whether it is too much."""
    new = sum(counts.new.values())
    above = last_above(counts.by_bucket, list(counts.new), rule, subject)
    if above is None:
        return Seen(new=new)
    count, end = above
    facts: Mapping[str, Any] = {**counts.facts, "count": count, "window_s": rule.within_s}
    if rule.name in (MODEL_ERRORS, MODEL_FALLBACKS):
        last = end - timedelta(seconds=BUCKET_S)
        first = end - timedelta(seconds=rule.within_s)
        facts = {**facts, "model": subject, "reason": counts.reason(first, last)}
    return Seen(is_on=True, new=new, at=end, facts=facts)


def _seen_in(signal: Signal) -> Seen:
    facts = signal.facts
    if signal.rule == SECURITY_INCIDENT:
        facts = {"count": 1, "window_s": RULES[SECURITY_INCIDENT].within_s, **facts}
    if signal.kind is Kind.OVER:
        return Seen(is_over=True, facts=signal.facts)
    return Seen(is_on=True, new=1, at=signal.at, facts=facts)


def _new_id() -> str:
    return secrets.token_hex(6)
