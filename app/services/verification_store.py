"""Verifications of the trail, under way and past, in Postgres: blocking queries, for threads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Engine, text

from app.services.database import session_on

FIELDS = "id, started_at, started_by, since, rows, rows_expected, seen_at, ended_at, report"
# Postgres's own estimate: counting millions would take as long as verifying them.
EXPECTED = """(
  SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class
  JOIN pg_inherits ON inhrelid = pg_class.oid WHERE inhparent = 'audit_events'::regclass
)"""
BEGIN = text(f"""
    INSERT INTO trail_verifications (started_at, started_by, since, rows_expected, seen_at)
    VALUES (:now, :by, :since, {EXPECTED}, :now) RETURNING {FIELDS}
""")  # noqa: S608  # names of ours
ADVANCE = text("UPDATE trail_verifications SET rows = :rows, seen_at = :now WHERE id = :id")
END = text("""
    UPDATE trail_verifications SET ended_at = :now, seen_at = :now,
      report = CAST(:report AS jsonb), rows = coalesce(:rows, rows) WHERE id = :id
""")
LATEST = text(f"SELECT {FIELDS} FROM trail_verifications ORDER BY id DESC LIMIT :limit")  # noqa: S608


@dataclass(frozen=True, slots=True)
class VerificationRun:
    """One row; ``report`` is None while it is under way, and where it could not go on."""

    id: int
    started_at: datetime
    started_by: str
    since: date | None
    rows: int
    rows_expected: int
    seen_at: datetime
    ended_at: datetime | None
    report: dict[str, Any] | None

    def is_under_way(self, now: datetime, silent_for: timedelta) -> bool:
        return self.ended_at is None and now - self.seen_at < silent_for


class VerificationStore:
    """Raises DatabaseUnavailableError from every method when Postgres is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, since: date | None, now: datetime, by: str) -> VerificationRun:
        with session_on(self._engine) as session:
            row = session.execute(BEGIN, {"since": since, "now": now, "by": by}).one()
            session.commit()
        return VerificationRun(*row)

    def advance(self, run_id: int, rows: int, now: datetime) -> None:
        with session_on(self._engine) as session:
            session.execute(ADVANCE, {"id": run_id, "rows": rows, "now": now})
            session.commit()

    def end(self, run_id: int, now: datetime, report: dict[str, Any] | None) -> None:
        values = {
            "id": run_id,
            "now": now,
            "rows": report["rows"] if report else None,
            "report": orjson.dumps(report).decode() if report else None,
        }
        with session_on(self._engine) as session:
            session.execute(END, values)
            session.commit()

    def latest(self, limit: int) -> list[VerificationRun]:
        with session_on(self._engine) as session:
            return [VerificationRun(*row) for row in session.execute(LATEST, {"limit": limit})]
