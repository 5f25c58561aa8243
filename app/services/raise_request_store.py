"""Requests for more of a budget, in Postgres: blocking queries, for threads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from app.services.database import session_on
from app.utils.exceptions import ConflictError

STATES = ("open", "approved", "declined")
MAX_REASON_LENGTH = 500


class AlreadyAskedError(ConflictError):
    """This person has asked for more of this budget, and waits for an answer."""


@dataclass(frozen=True, slots=True)
class RaiseRequest:
    """One row, with the budget that it is of; ``amount`` in the budget's metric."""

    id: int
    budget_id: int
    metric: str
    period: str
    limit: int
    subject: str
    amount: int
    days: int
    reason: str
    state: str
    created_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    answer: str
    raise_id: int | None

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


OWN = """asked.subject, asked.amount, asked.days, asked.reason, asked.state, asked.created_at,
    asked.decided_at, asked.decided_by, asked.answer, asked.raise_id"""
SELECT = f"""
    SELECT asked.id, budget_id, metric, period, limit_amount, {OWN}
    FROM raise_requests AS asked JOIN budgets ON budgets.id = budget_id
"""  # noqa: S608  # names of ours
ONE = text(f"{SELECT} WHERE asked.id = :id")
PAGE = text(f"""
    {SELECT} WHERE (CAST(:state AS text) IS NULL OR state = :state)
      AND (CAST(:subject AS text) IS NULL OR asked.subject = :subject)
      AND (CAST(:before AS bigint) IS NULL OR asked.id < :before)
    ORDER BY asked.id DESC LIMIT :limit
""")
ADD = text("""
    INSERT INTO raise_requests (budget_id, subject, amount, days, reason, created_at)
    VALUES (:budget_id, :subject, :amount, :days, :reason, :now) RETURNING id
""")
# Whoever is first decides.
DECIDE = text("""
    UPDATE raise_requests SET state = :state, decided_at = :now, decided_by = :by, answer = :answer
    WHERE id = :id AND state = 'open' RETURNING id
""")
GRANTED = text("UPDATE raise_requests SET raise_id = :raise_id WHERE id = :id")
REOPEN = text("""
    UPDATE raise_requests SET state = 'open', decided_at = NULL, decided_by = NULL, answer = ''
    WHERE id = :id AND raise_id IS NULL
""")


class RaiseRequestStore:
    """Raises DatabaseUnavailableError from every method when Postgres is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, **values: Any) -> RaiseRequest:
        """Raises: AlreadyAskedError."""
        try:
            with session_on(self._engine) as session:
                number = session.execute(ADD, values).scalar_one()
                session.commit()
        except IntegrityError as fault:
            raise AlreadyAskedError(values["subject"]) from fault
        found = self.one(number)
        if found is None:
            raise RuntimeError(f"raise request {number} is gone as soon as it was made")
        return found

    def one(self, request_id: int) -> RaiseRequest | None:
        with session_on(self._engine) as session:
            row = session.execute(ONE, {"id": request_id}).first()
        return RaiseRequest(*row) if row else None

    def page(
        self,
        limit: int,
        *,
        state: str | None = None,
        subject: str | None = None,
        before: int | None = None,
    ) -> list[RaiseRequest]:
        """Return the latest first."""
        values = {"limit": limit, "state": state, "subject": subject, "before": before}
        with session_on(self._engine) as session:
            return [RaiseRequest(*row) for row in session.execute(PAGE, values)]

    def decide(self, request_id: int, *, state: str, now: datetime, by: str, answer: str) -> bool:
        """Return whether it was still open."""
        values = {"id": request_id, "state": state, "now": now, "by": by, "answer": answer}
        with session_on(self._engine) as session:
            decided = session.execute(DECIDE, values).first()
            session.commit()
        return decided is not None

    def granted(self, request_id: int, raise_id: int) -> None:
        with session_on(self._engine) as session:
            session.execute(GRANTED, {"id": request_id, "raise_id": raise_id})
            session.commit()

    def reopen(self, request_id: int) -> None:
        """Undo a decision that could not be carried out."""
        with session_on(self._engine) as session:
            session.execute(REOPEN, {"id": request_id})
            session.commit()
