"""Kill switches in Postgres: blocking queries, for threads and for the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from app.services.database import session_on

SCOPES = ("all", "model", "team", "user")
# It goes into a message that fits on one line.
MAX_REASON_LENGTH = 120


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """One row; it is over at ``lifted_at`` or ``expires_at``."""

    id: int
    scope: str
    # Empty where it is everybody's.
    subject: str
    reason: str
    thrown_at: datetime
    thrown_by: str
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None

    def is_thrown(self, now: datetime) -> bool:
        return self.lifted_at is None and (self.expires_at is None or now < self.expires_at)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


FIELDS = ", ".join(it.name for it in fields(KillSwitch))
THROWN = text(f"SELECT {FIELDS} FROM kill_switches WHERE lifted_at IS NULL ORDER BY id")  # noqa: S608  # names of ours
# Two who throw the same one at once do so one after the other; reading goes on.
LOCK = text("LOCK TABLE kill_switches IN SHARE ROW EXCLUSIVE MODE")
# What has expired was lifted then, by nobody.
TIDY = text(
    "UPDATE kill_switches SET lifted_at = expires_at WHERE lifted_at IS NULL AND expires_at <= :now"
)
REPLACE = text(f"""
    UPDATE kill_switches SET lifted_at = :now, lifted_by = :by
    WHERE scope = :scope AND subject = :subject AND lifted_at IS NULL RETURNING {FIELDS}
""")  # noqa: S608
ADD = text(f"""
    INSERT INTO kill_switches (scope, subject, reason, thrown_at, thrown_by, expires_at)
    VALUES (:scope, :subject, :reason, :now, :by, :expires_at) RETURNING {FIELDS}
""")  # noqa: S608
LIFT = text(f"""
    UPDATE kill_switches SET lifted_at = :now, lifted_by = :by
    WHERE id = :id AND lifted_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
    RETURNING {FIELDS}
""")  # noqa: S608
PAGE = text(f"""
    SELECT {FIELDS} FROM kill_switches
    WHERE (:past OR lifted_at IS NULL AND (expires_at IS NULL OR expires_at > :now))
      AND (CAST(:before AS bigint) IS NULL OR id < :before)
    ORDER BY id DESC LIMIT :limit
""")  # noqa: S608


class KillSwitchStore:
    """Raises DatabaseUnavailableError from every method when Postgres is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def thrown(self) -> tuple[KillSwitch, ...]:
        """Return those that nobody has lifted; some may have expired."""
        with session_on(self._engine) as session:
            return tuple(KillSwitch(*row) for row in session.execute(THROWN))

    def throw(
        self,
        scope: str,
        subject: str,
        *,
        reason: str,
        expires_at: datetime | None,
        now: datetime,
        by: str,
    ) -> tuple[KillSwitch | None, KillSwitch]:
        """Throw one in the place of the one that stood there; return that and the new one."""
        place = {"scope": scope, "subject": subject, "now": now, "by": by}
        with session_on(self._engine) as session:
            session.execute(LOCK)
            session.execute(TIDY, {"now": now})
            old = session.execute(REPLACE, place).first()
            added = {**place, "reason": reason, "expires_at": expires_at}
            new = session.execute(ADD, added).one()
            session.commit()
        return KillSwitch(*old) if old else None, KillSwitch(*new)

    def lift(self, switch_id: int, now: datetime, by: str) -> KillSwitch | None:
        """Lift one that is thrown; None where none of this number is."""
        with session_on(self._engine) as session:
            row = session.execute(LIFT, {"id": switch_id, "now": now, "by": by}).first()
            session.commit()
        return KillSwitch(*row) if row else None

    def page(
        self, now: datetime, limit: int, *, past: bool = False, before: int | None = None
    ) -> list[KillSwitch]:
        """Return those that are thrown, or all; the latest first."""
        values = {"now": now, "limit": limit, "past": past, "before": before}
        with session_on(self._engine) as session:
            return [KillSwitch(*row) for row in session.execute(PAGE, values)]
