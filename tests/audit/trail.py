"""What the trail says, read beside the product: names in place of numbers, private parts open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import Engine, create_engine, text

from app.audit.names import Name
from app.audit.rows import private_of
from app.audit.usage import CALL_EVENTS
from tests.waiting import wait_until

EVENTS = """
    SELECT event.*, kind.value AS kind, person.value AS person, team.value AS team,
      key.value AS key, asked.value AS asked, used.value AS used,
      coalesce(owner.id, 0) AS owner_id, owner.kind AS owner_kind, owner.value AS owner_value,
      owner.secret AS owner_secret, owner.commitment AS owner_commitment
    FROM audit_events AS event
    JOIN audit_names AS kind ON kind.id = event.event
    LEFT JOIN audit_names AS person ON person.id = event.user_id
    LEFT JOIN audit_names AS team ON team.id = event.team_id
    LEFT JOIN audit_names AS key ON key.id = event.key_id
    LEFT JOIN audit_names AS asked ON asked.id = event.model_id
    LEFT JOIN audit_names AS used ON used.id = event.model_used_id
    LEFT JOIN audit_names AS owner ON owner.id = coalesce(event.user_id, event.key_id,
      (SELECT id FROM audit_names WHERE kind = 'user' AND value = ''))
    ORDER BY event.seq
"""


def recorded(url: str, count: int = 1) -> list[dict[str, Any]]:
    """Return the events, when there are at least so many."""
    return _recorded(url, count, lambda _event: True)


def calls_on_record(url: str, count: int = 1) -> list[dict[str, Any]]:
    """Return the events of requests to models, when there are at least so many."""
    return _recorded(url, count, lambda event: event["kind"] in CALL_EVENTS)


def _recorded(
    url: str, count: int, counts: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = filter(counts, _events(url))
        return len(found) >= count

    wait_until(is_there, 10)
    return found


def _events(url: str) -> list[dict[str, Any]]:
    with _connected(url) as engine, engine.connect() as connection:
        return [_opened(dict(row)) for row in connection.execute(text(EVENTS)).mappings()]


@contextmanager
def _connected(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    row["detail"] = orjson.loads(row["detail"]) if row["detail"] else {}
    if row["private"] is not None:
        owner = Name(
            row["owner_id"],
            row["owner_kind"],
            row["owner_value"],
            bytes(row["owner_secret"]),
            bytes(row["owner_commitment"]),
        )
        row["private"] = private_of(bytes(row["private"]), row["event_id"], owner)
    return row
