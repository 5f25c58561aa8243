"""Who is signed in to the pages, in Postgres: blocking queries, for threads.

Of a token only its hash is stored; whoever reads the database can sign in as nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

from app.services.database import session_on

ADD_SESSION = text("""
    INSERT INTO page_sessions (token_hash, key_hash, user_id, created_at, expires_at)
    VALUES (:token_hash, :key_hash, :user_id, :now, :expires_at)
""")
SESSION = text("""
    SELECT key_hash, user_id FROM page_sessions WHERE token_hash = :token_hash AND expires_at > :now
""")
END_SESSION = text("DELETE FROM page_sessions WHERE token_hash = :token_hash")
END_PERSONS_SESSIONS = text("DELETE FROM page_sessions WHERE user_id = :user_id")
ADD_LINK = text("""
    INSERT INTO sign_in_links (token_hash, user_id, created_by, created_at, expires_at)
    VALUES (:token_hash, :user_id, :by, :now, :expires_at)
""")
# Whoever is first takes it: the row lock makes the other find nothing.
TAKE_LINK = text("""
    DELETE FROM sign_in_links WHERE token_hash = :token_hash AND expires_at > :now
    RETURNING user_id
""")
ADD_FAILURE = text("INSERT INTO sign_in_failures (place, failed_at) VALUES (:place, :now)")
FAILURES = text("""
    SELECT count(*), min(failed_at) FROM sign_in_failures
    WHERE place = :place AND failed_at > :since
""")
TIDY = (
    text("DELETE FROM page_sessions WHERE expires_at <= :now"),
    text("DELETE FROM sign_in_links WHERE expires_at <= :now"),
    text("DELETE FROM sign_in_failures WHERE failed_at <= :since"),
)


@dataclass(frozen=True, slots=True)
class PageSession:
    """Either is None: a key's session, or a person's."""

    key_hash: bytes | None
    user_id: str | None


class PageSessionStore:
    """Raises DatabaseUnavailableError from every method when Postgres is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(
        self, token_hash: bytes, session: PageSession, now: datetime, expires_at: datetime
    ) -> None:
        values = {
            "token_hash": token_hash,
            "key_hash": session.key_hash,
            "user_id": session.user_id,
            "now": now,
            "expires_at": expires_at,
        }
        with session_on(self._engine) as unit:
            unit.execute(ADD_SESSION, values)
            unit.commit()

    def find(self, token_hash: bytes, now: datetime) -> PageSession | None:
        with session_on(self._engine) as unit:
            row = unit.execute(SESSION, {"token_hash": token_hash, "now": now}).first()
        return PageSession(*row) if row else None

    def end(self, token_hash: bytes) -> None:
        with session_on(self._engine) as unit:
            unit.execute(END_SESSION, {"token_hash": token_hash})
            unit.commit()

    def end_of_person(self, user_id: str) -> None:
        with session_on(self._engine) as unit:
            unit.execute(END_PERSONS_SESSIONS, {"user_id": user_id})
            unit.commit()

    def add_link(
        self, token_hash: bytes, user_id: str, by: str, now: datetime, expires_at: datetime
    ) -> None:
        values = {"token_hash": token_hash, "user_id": user_id, "by": by, "now": now}
        with session_on(self._engine) as unit:
            unit.execute(ADD_LINK, {**values, "expires_at": expires_at})
            unit.commit()

    def take_link(self, token_hash: bytes, now: datetime) -> str | None:
        """Use a link up; return whose it is, or None where it is none, or none any more."""
        with session_on(self._engine) as unit:
            user_id = unit.execute(TAKE_LINK, {"token_hash": token_hash, "now": now}).scalar()
            unit.commit()
        return user_id

    def failures(self, place: bytes, since: datetime) -> tuple[int, datetime | None]:
        """Return how often a place was refused since then, and when first."""
        with session_on(self._engine) as unit:
            count, first = unit.execute(FAILURES, {"place": place, "since": since}).one()
        return count, first

    def add_failure(self, place: bytes, now: datetime, since: datetime) -> None:
        """Count one, and forget what no longer counts."""
        with session_on(self._engine) as unit:
            for statement in TIDY:
                names = statement.compile().params
                values = {"now": now, "since": since}
                unit.execute(statement, {it: values[it] for it in names})
            unit.execute(ADD_FAILURE, {"place": place, "now": now})
            unit.commit()
