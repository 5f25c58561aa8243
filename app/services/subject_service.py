"""What a person may ask of whoever keeps data about them (LGPD art. 18), and who did it when.

Blocking, for the command line; as the owner of the tables: the application's own role can change
nothing of the trail. Every operation is an event of the trail, in its own transaction.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg2
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session

from app.audit.anchor import keep_anchor
from app.audit.chain import Checkpoint
from app.audit.content import ContentKeys
from app.audit.event import AuditEvent
from app.audit.names import pseudonym
from app.audit.store import LOCK_ID, RETRY_AFTER_S, AuditStore
from app.services import subject_erasure
from app.services.database import session_on
from app.services.identity import valid_id
from app.services.subject_export import Alias, export, is_known
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError
from app.utils.helpers import generate_request_id

EXPORT, ERASE, HOLD, UNHOLD = "subject_export", "subject_erase", "subject_hold", "subject_unhold"
OPERATIONS = (EXPORT, ERASE, HOLD, UNHOLD)

LOCK = text("SELECT pg_advisory_xact_lock(:id)")
# One without a subject is on everybody.
HELD = text("""
    SELECT count(*) FROM legal_holds
    WHERE lifted_at IS NULL AND (subject = :person OR subject IS NULL)
""")
ADD_HOLD = text("""
    INSERT INTO legal_holds (subject, reason, set_by, set_at) VALUES (:person, :reason, :by, :at)
""")
LIFT_HOLDS = text("""
    UPDATE legal_holds SET lifted_at = :at WHERE subject = :person AND lifted_at IS NULL
    RETURNING id
""")
REGISTER = text("""
    SELECT at, kind.value AS operation, person.id AS number, person.value AS subject, detail
    FROM audit_events AS event
    JOIN audit_names AS kind ON kind.id = event.event AND kind.value = ANY(:operations)
    JOIN audit_names AS person ON person.id = event.user_id
    ORDER BY seq DESC
""")


class UnknownSubjectError(LookupError):
    """Nothing is kept about anybody of this id."""


class SubjectHeldError(RuntimeError):
    """A legal hold stands."""


class NotHeldError(LookupError):
    """No legal hold of this person stands."""


class NotOwnerError(PermissionError):
    """The role may not do this: it is not the owner of the tables."""


class SubjectService:
    """Raises DatabaseUnavailableError and NotOwnerError from every method; InvalidFactError for
    an id that nobody can have."""

    def __init__(
        self,
        engine: Engine,
        trail: AuditStore,
        contents: ContentKeys,
        clock: Clock,
        folder: Path,
        alias: Alias,
    ) -> None:
        """``engine`` connects as the owner; ``folder`` is where the anchor is; ``alias`` makes of
        an id what LiteLLM sees."""
        self._alias = alias
        self._engine = engine
        self._trail = trail
        self._contents = contents
        self._clock = clock
        self._folder = folder

    def export(self, person: str) -> dict[str, Any]:
        """Return everything that is kept about a person. Raises: UnknownSubjectError."""
        with self._transaction() as session:
            self._require_known(session, person)
            found = export(session, person, self._contents, self._alias)
            signed = self._register(session, EXPORT, person)
        self._anchor(signed)
        return {"exported_at": self._clock.now(), **found}

    def erase(self, person: str) -> str:
        """Make unreadable or remove what is kept about a person; return their pseudonym.

        Raises: UnknownSubjectError, SubjectHeldError, SubjectBusyError.
        """
        with self._transaction() as session:
            # Nothing is added to the trail from here on, and no hold set.
            session.execute(LOCK, {"id": LOCK_ID})
            self._require_known(session, person)
            if session.execute(HELD, {"person": person}).scalar_one():
                raise SubjectHeldError
            # First: it gives a number to whom the trail does not know.
            signed = self._register(session, ERASE, person)
            erased = subject_erasure.erase(session, person, self._alias)
        self._anchor(signed)
        return erased

    def hold(self, person: str, reason: str) -> None:
        """Let nothing of a person go until `unhold`. Raises: UnknownSubjectError."""
        with self._transaction() as session:
            session.execute(LOCK, {"id": LOCK_ID})
            self._require_known(session, person)
            values = {"person": person, "reason": reason, "by": actor_var.get()}
            session.execute(ADD_HOLD, values | {"at": self._clock.now()})
            signed = self._register(session, HOLD, person, facts={"reason": reason})
        self._anchor(signed)

    def unhold(self, person: str) -> None:
        """Lift every hold that is the person's own. Raises: NotHeldError."""
        with self._transaction() as session:
            session.execute(LOCK, {"id": LOCK_ID})
            valid_id("id", person)
            lifted = session.execute(LIFT_HOLDS, {"person": person, "at": self._clock.now()})
            if not lifted.all():
                raise NotHeldError(person)
            signed = self._register(session, UNHOLD, person)
        self._anchor(signed)

    def operations(self) -> list[dict[str, Any]]:
        """Return who did what to whose data, newest first; who was erased by their pseudonym."""
        with self._transaction() as session:
            rows = session.execute(REGISTER, {"operations": list(OPERATIONS)})
            return [
                {
                    "at": row.at,
                    "operation": row.operation,
                    "subject": row.subject or pseudonym(row.number),
                    "by": orjson.loads(row.detail)["by"],
                }
                for row in rows
            ]

    def _register(
        self, session: Session, operation: str, person: str, facts: dict[str, Any] | None = None
    ) -> list[Checkpoint]:
        event = AuditEvent(
            event_id=generate_request_id(),
            at=self._clock.now(),
            event=operation,
            user=person,
            private={"facts": facts} if facts else {},
            detail={"by": actor_var.get()},
        )
        cursor = session.connection().connection.cursor()
        return self._trail.append_in(cursor, [event])

    def _require_known(self, session: Session, person: str) -> None:
        if not is_known(session, valid_id("id", person), self._alias):
            raise UnknownSubjectError(person)

    def _anchor(self, signed: list[Checkpoint]) -> None:
        # The next batch of a worker brings it up to date where this is another machine or person.
        with contextlib.suppress(OSError, ValueError):
            for checkpoint in signed:
                keep_anchor(self._folder, checkpoint)

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        try:
            with session_on(self._engine) as session:
                yield session
                session.commit()
        except DatabaseUnavailableError as fault:
            if isinstance(getattr(fault.__cause__, "orig", None), InsufficientPrivilege):
                raise NotOwnerError from fault
            raise
        except InsufficientPrivilege as fault:
            raise NotOwnerError from fault
        except psycopg2.Error as fault:
            raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault


def owner_engine(url: str) -> Engine:
    """Return an engine for the owner's seldom and long work. Opens no connection."""
    options = "-c statement_timeout=600000 -c lock_timeout=10000"
    return create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"connect_timeout": 5, "options": options},
    )
