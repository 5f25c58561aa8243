"""LiteLLM's events in Postgres: each once, and what follows from each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extras import Json, execute_values
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.audit.store import RETRY_AFTER_S, UnstorableEventError
from app.events.event import LiteLLMEvent
from app.utils.exceptions import DatabaseUnavailableError

COLUMNS = (
    "id",
    "event_type",
    "at",
    "received_at",
    "request_id",
    "user_id",
    "model",
    "model_used",
    "provider",
    "status",
    "input_tokens",
    "output_tokens",
    "cost_micro_usd",
    "response_time_ms",
    "is_cached",
)
NAMES = ", ".join(COLUMNS)
ADD = f"INSERT INTO litellm_events ({NAMES}, detail) VALUES %s ON CONFLICT (id) DO NOTHING"  # noqa: S608  # our own names
# Those that another worker is at are left to it; where it dies they are free again.
CLAIM = f"""
    SELECT {NAMES}, coalesce(detail, '{{}}') FROM litellm_events WHERE processed_at IS NULL
    ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # our own names
DONE = "UPDATE litellm_events SET processed_at = now() WHERE id = ANY(%s)"
# While a legal hold stands nothing goes, as of the trail.
DROP_OLD = """
    DELETE FROM litellm_events WHERE id IN (
      SELECT event.id FROM litellm_events AS event
      WHERE event.received_at < %s AND event.processed_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM legal_holds WHERE lifted_at IS NULL
      )
      ORDER BY event.received_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
"""
MOST_AT_ONCE = 200
MOST_DROPPED_AT_ONCE = 5000


class EventStore:
    """Blocking; for the shipper's own thread. Every method raises DatabaseUnavailableError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, events: Sequence[LiteLLMEvent]) -> None:
        """Add the events that are not there yet. Raises: UnstorableEventError, where one of them
        will never fit."""
        rows = [(*(getattr(it, name) for name in COLUMNS), Json(dict(it.detail))) for it in events]
        with self._cursor() as cursor:
            execute_values(cursor, ADD, rows, page_size=len(rows))

    def process(self, apply: Callable[[Sequence[LiteLLMEvent]], None]) -> int:
        """Have ``apply`` do what follows from some of the events, and note that it is done; return
        how many there were. Where it raises, or this process dies, they are there as before."""
        with self._cursor() as cursor:
            cursor.execute(CLAIM, (MOST_AT_ONCE,))
            events = [
                LiteLLMEvent(**dict(zip((*COLUMNS, "detail"), row, strict=True)))
                for row in cursor.fetchall()
            ]
            if events:
                apply(events)
                cursor.execute(DONE, ([it.id for it in events],))
        return len(events)

    def drop_before(self, received_at: datetime) -> int:
        """Delete some of the events that are older; return how many."""
        with self._cursor() as cursor:
            cursor.execute(DROP_OLD, (received_at, MOST_DROPPED_AT_ONCE))
            return int(cursor.rowcount)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """One transaction."""
        try:
            connection: Any = self._engine.raw_connection()
            try:
                with connection.cursor() as cursor:
                    yield cursor
                connection.commit()
            finally:
                # Undoes what was not committed.
                connection.close()
        except psycopg2.DataError as fault:
            raise UnstorableEventError from fault
        except (psycopg2.Error, DBAPIError, PoolTimeoutError) as fault:
            raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault
