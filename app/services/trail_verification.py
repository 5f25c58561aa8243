"""Verifies the audit trail when an administrator asks, and puts on record that it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from app.audit.anchor import ANCHOR, read_anchor
from app.audit.chain import AuditKeys
from app.audit.findings import Report
from app.audit.store import UnstorableEventError
from app.audit.verify import verify_trail
from app.services.actions import RecordAction
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


class TrailVerification:
    """Blocking; as long as it takes, some seconds for each million rows."""

    def __init__(self, engine: Engine, keys: AuditKeys, folder: Path, record: RecordAction) -> None:
        """``folder`` has this machine's own anchor."""
        self._engine = engine
        self._keys = keys
        self._record = record
        self._lock = threading.Lock()
        self.own_anchor = folder / ANCHOR

    def run(self, since: date | None = None, anchor: Path | None = None) -> Verified:
        """Verify the trail, from a day of UTC on if asked, against an anchor: this machine's own.

        Raises: AlreadyVerifyingError, BadAnchorError, DatabaseUnavailableError.
        """
        with self._alone():
            known = _anchor_at(anchor or self.own_anchor, is_wanted=anchor is not None)
            start = datetime(since.year, since.month, since.day, tzinfo=UTC) if since else None
            report = verify_trail(self._engine, self._keys, since=start, anchor=known)
            self._put_on_record(report, since)
        return Verified(report, known is not None)

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


def _anchor_at(place: Path, *, is_wanted: bool) -> dict[str, Any] | None:
    try:
        anchor = read_anchor(place)
    except (OSError, ValueError) as fault:
        raise BadAnchorError(place) from fault
    if anchor is None and is_wanted:
        raise BadAnchorError(place)
    return anchor
