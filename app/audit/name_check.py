"""The dictionary of names: each as it was committed to, and none of them taken away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from app.audit.chain import AuditKeys, UnknownAuditKeyError
from app.audit.findings import NAME_CHANGED, NAME_REMOVED, UNKNOWN_KEY, Finding
from app.audit.names import Name

PAGE = 5_000
NAMES_AFTER = """
    SELECT id, kind, value, secret, commitment, key_id, code FROM audit_names
    WHERE id > %s ORDER BY id LIMIT %s
"""
# What sorts before every number.
BEFORE_ALL = -(2**31)
FIRST_WITH_NAME = """
    SELECT seq, event_id::text FROM audit_events
    WHERE %s IN (event, user_id, team_id, key_id, model_id, model_used_id)
    ORDER BY seq LIMIT 1
"""


def check_names(cursor: Any, keys: AuditKeys, at_least: int) -> tuple[int, Finding | None]:
    """Return how many names are good, and what is wrong with the next; there were ``at_least``
    so many."""
    good = 0
    for row in _rows(cursor):
        number = row[0]
        if number > good + 1:
            return good, _finding(cursor, NAME_REMOVED, good + 1)
        if problem := _problem(row, keys):
            return good, _finding(cursor, problem, number, key_id=row[5])
        good = number
    if good < at_least:
        return good, _finding(cursor, NAME_REMOVED, good + 1)
    return good, None


def _problem(row: Sequence[Any], keys: AuditKeys) -> str | None:
    number, kind, value, secret, commitment, key_id, code = row
    name = Name(number, kind, value, None if secret is None else bytes(secret), bytes(commitment))
    try:
        is_ours = name.code(keys.named(key_id)) == bytes(code)
    except UnknownAuditKeyError:
        return UNKNOWN_KEY
    return None if is_ours and name.is_as_committed else NAME_CHANGED


def _rows(cursor: Any) -> Iterator[Sequence[Any]]:
    last = BEFORE_ALL
    while True:
        cursor.execute(NAMES_AFTER, (last, PAGE))
        page = cursor.fetchall()
        if not page:
            return
        yield from page
        last = page[-1][0]


def _finding(cursor: Any, problem: str, name: int, key_id: str | None = None) -> Finding:
    cursor.execute(FIRST_WITH_NAME, (name,))
    seq, event_id = cursor.fetchone() or (None, None)
    return Finding(
        problem, seq, event_id, name=name, key_id=key_id if problem == UNKNOWN_KEY else None
    )
