"""Calls under way, in Postgres, for where there is no Redis. Only this module knows their SQL.

The table is not logged: what a crash of Postgres takes with it comes again with the next sign of
life, and nobody is charged by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg2
from psycopg2.extras import execute_values
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.ledger.slots import SlotBook, SlotOperation, packed, unpacked
from app.utils.exceptions import DatabaseUnavailableError

# Locks who is there and who is not yet, in the order of their names.
LOCK = """
    INSERT INTO calls_under_way (person, calls) VALUES %s
    ON CONFLICT (person) DO UPDATE SET person = excluded.person
    RETURNING person, calls
"""
SAVE = """
    UPDATE calls_under_way AS it SET calls = new.calls
    FROM (VALUES %s) AS new (person, calls) WHERE it.person = new.person
"""
# Nobody is remembered here who asks for nothing.
FORGET = "DELETE FROM calls_under_way WHERE person = ANY(%s)"


class SlotStore:
    """Blocking; for a batcher's own thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def apply(self, operations: Sequence[SlotOperation]) -> list[bool]:
        """Run the operations in their order, all in one transaction.

        Raises: DatabaseUnavailableError.
        """
        people = sorted({operation.person for operation in operations})
        with self._cursor() as cursor:
            rows = [(person, "{}") for person in people]
            locked = execute_values(cursor, LOCK, rows, page_size=len(rows), fetch=True)
            book = SlotBook({person: unpacked(calls) for person, calls in locked})
            answers = [book.run(operation) for operation in operations]
            _save(cursor, book)
        return answers

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        try:
            connection: Any = self._engine.raw_connection()
            try:
                with connection.cursor() as cursor:
                    yield cursor
                connection.commit()
            finally:
                # Undoes what was not committed.
                connection.close()
        except (psycopg2.Error, DBAPIError, PoolTimeoutError) as fault:
            raise DatabaseUnavailableError(retry_after_s=1) from fault


def _save(cursor: Any, book: SlotBook) -> None:
    busy = [(it, orjson.dumps(packed(calls)).decode()) for it, calls in book.calls.items() if calls]
    if busy:
        template = "(%s::text, %s::jsonb)"
        execute_values(cursor, SAVE, busy, template=template, page_size=len(busy))
    if idle := [person for person, calls in book.calls.items() if not calls]:
        cursor.execute(FORGET, (idle,))
