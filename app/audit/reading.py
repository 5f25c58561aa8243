"""How questions read the trail: one snapshot each, and names for the numbers that rows have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.audit.names import Name
from app.audit.store import RETRY_AFTER_S
from app.utils.exceptions import DatabaseUnavailableError

READ_ONLY = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
READ_WRITE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
# Sorts of two million rows in memory; what is asked of every row takes as long as it takes.
THOROUGH = "SET LOCAL statement_timeout = 0; SET LOCAL work_mem = '64MB'"
# Of a grouping by user and model some; the default would write them to disk and read them again.
QUICK = "SET LOCAL work_mem = '64MB'"
NAMES_OF = "SELECT id, kind, value, secret, commitment FROM audit_names WHERE id = ANY (%s)"
LABELS_OF = "SELECT id, value FROM audit_names WHERE id = ANY (%s)"
LABELS = "SELECT id, value FROM audit_names"
ERASED = "erased-"

Labels = Mapping[int, str]


@contextmanager
def snapshot(
    engine: Engine, *, is_thorough: bool = False, is_read_only: bool = True
) -> Iterator[Any]:
    """Open a transaction that sees one moment, and yield its connection; nothing is committed.

    Raises: DatabaseUnavailableError.
    """
    try:
        connection: Any = engine.raw_connection()
        try:
            with connection.cursor() as cursor:
                cursor.execute(READ_ONLY if is_read_only else READ_WRITE)
                cursor.execute(THOROUGH if is_thorough else QUICK)
            yield connection
        finally:
            connection.close()
    except (psycopg2.Error, DBAPIError, PoolTimeoutError) as fault:
        raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault


def label(number: int, value: str | None) -> str:
    """Return a name as people read it: of one that was erased, a pseudonym that stays the same."""
    return f"{ERASED}{number}" if value is None else value


def labels_of(cursor: Any, numbers: Iterable[int]) -> Labels:
    cursor.execute(LABELS_OF, (sorted(set(numbers)),))
    return {number: label(number, value) for number, value in cursor.fetchall()}


def all_labels(cursor: Any) -> Labels:
    cursor.execute(LABELS)
    return {number: label(number, value) for number, value in cursor.fetchall()}


def names_of_numbers(cursor: Any, numbers: Collection[int]) -> dict[int, Name]:
    cursor.execute(NAMES_OF, (sorted(numbers),))
    return {
        number: Name(number, kind, value, secret and bytes(secret), bytes(commitment))
        for number, kind, value, secret, commitment in cursor.fetchall()
    }
