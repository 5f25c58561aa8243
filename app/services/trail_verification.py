"""Verifies the audit trail when an administrator asks, and puts on record that it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from app.audit.anchor import ANCHOR, read_anchor
from app.audit.chain import AuditKeys
from app.audit.findings import Report
from app.audit.store import UnstorableEventError
from app.audit.verify import Progress, verify_trail
from app.services.actions import RecordAction
from app.services.verification_store import VerificationRun, VerificationStore
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import ConflictError, DatabaseUnavailableError

logger = logging.getLogger("audit")


class AlreadyVerifyingError(ConflictError):
    """This process is at it: one at a time."""

    sentence = "busy"


class BadAnchorError(ValueError):
    """What is there is no anchor; its text is where."""


@dataclass(frozen=True, slots=True)
class Verified:
    """``has_anchor``: whether a cut tail would have shown."""

    report: Report
    has_anchor: bool


# A run that is not heard of for so long has ended with its process.
SILENT_FOR = timedelta(minutes=2)


class TrailVerification:
    """Blocking; as long as it takes, some seconds for each million rows."""

    def __init__(
        self, engine: Engine, keys: AuditKeys, folder: Path, clock: Clock, record: RecordAction
    ) -> None:
        """``folder`` has this machine's own anchor."""
        self._engine = engine
        self._keys = keys
        self._runs = VerificationStore(engine)
        self._clock = clock
        self._record = record
        self._lock = threading.Lock()
        self.own_anchor = folder / ANCHOR

    def run(self, since: date | None = None, anchor: Path | None = None) -> Verified:
        """Verify the trail, from a day of UTC on if asked, against an anchor: this machine's own.

        Raises: AlreadyVerifyingError, BadAnchorError, DatabaseUnavailableError.
        """
        with self._alone():
            run = self._runs.begin(since, self._clock.now(), actor_var.get())
            return self._verified(run, anchor)

    def start(self, since: date | None = None) -> VerificationRun:
        """As `run`, beside the caller: `runs` says how far it is, on every machine.

        Raises: AlreadyVerifyingError, DatabaseUnavailableError.
        """
        now = self._clock.now()
        latest = next(iter(self._runs.latest(1)), None)
        if latest is not None and latest.is_under_way(now, SILENT_FOR):
            raise AlreadyVerifyingError
        run = self._runs.begin(since, now, actor_var.get())
        task = copy_context().run
        threading.Thread(
            target=task, args=(self._carry_out, run), name="trail-verification", daemon=True
        ).start()
        return run

    def runs(self, limit: int) -> list[VerificationRun]:
        """Return what was verified, the latest first. Raises: DatabaseUnavailableError."""
        return self._runs.latest(limit)

    def is_under_way(self, run: VerificationRun) -> bool:
        return run.is_under_way(self._clock.now(), SILENT_FOR)

    def _carry_out(self, run: VerificationRun) -> None:
        try:
            with self._alone():
                self._verified(run, None)
        except Exception as fault:  # noqa: BLE001  # of a thread: nobody else would hear of it
            kind = type(fault).__name__
            logger.error("audit_verification_failed", extra={"error_type": kind})  # noqa: TRY400

    def _verified(self, run: VerificationRun, anchor: Path | None) -> Verified:
        verified: Verified | None = None
        try:
            known = _anchor_at(anchor or self.own_anchor, is_wanted=anchor is not None)
            since = run.since
            start = datetime(since.year, since.month, since.day, tzinfo=UTC) if since else None
            report = verify_trail(
                self._engine, self._keys, since=start, anchor=known, progress=self._told(run)
            )
            self._put_on_record(report, since)
            verified = Verified(report, known is not None)
        finally:
            self._end(run, verified)
        return verified

    def _told(self, run: VerificationRun) -> Progress:
        return lambda rows: self._runs.advance(run.id, rows, self._clock.now())

    def _end(self, run: VerificationRun, verified: Verified | None) -> None:
        report = as_facts(verified) if verified else None
        try:
            self._runs.end(run.id, self._clock.now(), report)
        except DatabaseUnavailableError:
            # It shows as one that is not heard of.
            logger.warning("audit_verification_result_lost")

    def _put_on_record(self, report: Report, since: date | None) -> None:
        """Alerts are counted from there. A trail that takes nothing is told of all the same."""
        finding = report.finding
        facts: dict[str, Any] = {"findings": 0 if finding is None else 1}
        if finding is not None:
            facts |= {"problem": finding.problem, "first_seq": finding.seq}
        if since is not None:
            facts["since"] = since.isoformat()
        try:
            self._record("audit_verified", **facts)
        except (DatabaseUnavailableError, UnstorableEventError):
            logger.critical("audit_verification_unrecorded", extra=facts)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise AlreadyVerifyingError
        try:
            yield
        finally:
            self._lock.release()


def as_facts(verified: Verified) -> dict[str, Any]:
    """Return what `/api/admin/audit/verify` answers."""
    report = verified.report
    return {**asdict(report), "good": report.is_good, "has_anchor": verified.has_anchor}


def _anchor_at(place: Path, *, is_wanted: bool) -> dict[str, Any] | None:
    try:
        anchor = read_anchor(place)
    except (OSError, ValueError) as fault:
        raise BadAnchorError(place) from fault
    if anchor is None and is_wanted:
        raise BadAnchorError(place)
    return anchor
