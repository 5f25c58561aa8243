"""Events as they are read: which, in which order, under which names."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from app.audit.queries import EventFilter, EventRecord, TrailQueries
from app.audit.store import AuditStore
from app.utils.helpers import generate_request_id
from tests.audit.conftest import Ask
from tests.audit.events import NOW, event, events
from tests.audit.test_usage import erase
from tests.audit.trails import changed

CONTRACT = "event_id request_id event at user team key model model_used status tokens cost".split()


def found(engine: Engine, **wanted: Any) -> list[EventRecord]:
    return TrailQueries(engine).events(EventFilter(**wanted))


def test_events_come_newest_first_and_no_more_than_asked_for(
    engine: Engine, store: AuditStore
) -> None:
    sent = events(9)
    # In another order, and in several months.
    store.append([*sent[4:], event(99, at=NOW - timedelta(days=40))])
    store.append(sent[:4])

    read = found(engine, limit=9)

    assert [it.event_id for it in read] == [it.event_id for it in reversed(sent)]
    assert [it.at for it in read] == [it.at for it in reversed(sent)]


def test_events_of_a_user_are_theirs_alone(engine: Engine, store: AuditStore) -> None:
    store.append(events(20))

    read = found(engine, user="person-3", limit=3)

    assert [it.user for it in read] == ["person-3"] * 3
    assert [it.cost for it in read] == [518, 513, 508]


def test_events_of_one_kind_since_a_moment(engine: Engine, store: AuditStore) -> None:
    changes = [event(number, event="budget_set") for number in (3, 5, 7)]
    store.append([*events(10), *changes])

    read = found(engine, event="budget_set", since=changes[1].at)

    assert [it.event_id for it in read] == [changes[2].event_id, changes[1].event_id]


@pytest.mark.parametrize("wanted", [{"user": "nobody"}, {"event": "none"}, {"request": "none"}])
def test_events_of_what_is_unknown_are_none(
    engine: Engine, store: AuditStore, wanted: dict[str, str]
) -> None:
    store.append(events(2))

    assert found(engine, **wanted) == []


@pytest.mark.parametrize(
    "request_id", [generate_request_id(), "chatcmpl-no-uuid"], ids=["ours", "foreign"]
)
def test_request_has_its_whole_story(engine: Engine, store: AuditStore, request_id: str) -> None:
    own = event(1, event_id=request_id, request_id=request_id)
    told = event(2, event="litellm_request_end", request_id=request_id, user=None, private={})
    store.append([own, told, *events(5)])

    read = found(engine, request=request_id)

    assert [it.event for it in read] == ["litellm_request_end", "request"]
    assert [it.request_id for it in read] == [request_id, request_id]


def test_event_has_all_that_was_said_of_it(engine: Engine, store: AuditStore) -> None:
    sent = event(1)
    store.append([sent])

    (read,) = found(engine)

    assert read.as_dict() == {
        "event_id": sent.event_id,
        "request_id": sent.event_id,
        "event": "request",
        "at": sent.at,
        "user": "person-1",
        "team": "sales",
        "key": "librechat",
        "model": "gpt-4o",
        "model_used": "gpt-4o",
        "status": 200,
        "tokens": 121,
        "cost": 501,
        "input_tokens": 101,
        "output_tokens": 20,
        "is_estimated": False,
        "latency_ms": 1200,
        "first_byte_ms": 300,
        "path": [{"model": "gpt-4o", "outcome": "answered"}],
        "detail": {"cached_input_tokens": 10, "odd": 'a\\b\t"c"\n€'},
        "private": {"conversation_id": "talk-1", "ip": "10.0.0.7", "client": "librechat"},
    }


def test_event_without_a_request_has_none(engine: Engine, store: AuditStore) -> None:
    store.append([event(1, event="budget_set", user=None, key=None, usage=None)])

    (read,) = found(engine)

    assert (read.request_id, read.user, read.tokens) == (None, None, None)
    # Of nobody known, and yet encrypted.
    assert read.private == {"conversation_id": "talk-1", "ip": "10.0.0.7", "client": "librechat"}


def test_private_part_of_a_key_without_a_person_is_read(engine: Engine, store: AuditStore) -> None:
    store.append([event(1, user=None, private={"ip": "10.0.0.9"})])

    assert found(engine)[0].private == {"ip": "10.0.0.9"}


def test_events_of_an_erased_person_are_found_by_the_pseudonym(
    engine: Engine, store: AuditStore
) -> None:
    store.append(events(10))
    pseudonym = f"erased-{erase(engine, 'person-2')}"

    read = found(engine, user=pseudonym)

    assert [(it.user, it.private) for it in read] == [(pseudonym, None)] * 2
    assert found(engine, user="person-2") == []


def test_pseudonym_of_somebody_who_was_not_erased_finds_nobody(
    engine: Engine, store: AuditStore
) -> None:
    store.append(events(1))
    with changed(engine) as cursor:
        cursor.execute("SELECT id FROM audit_names WHERE kind = 'user'")
        (number,) = cursor.fetchone()

    assert found(engine, user=f"erased-{number}") == []


def test_private_part_that_was_changed_is_not_read(engine: Engine, store: AuditStore) -> None:
    store.append(events(1))
    with changed(engine, keep=True) as cursor:
        cursor.execute("UPDATE audit_events SET private = '\\x00112233445566778899aabbccddeeff00'")

    (read,) = found(engine)

    assert (read.private, read.user) == (None, "person-0")


def test_list_command_prints_one_json_array(ask: Ask, store: AuditStore) -> None:
    store.append(events(60))

    done = ask("audit", "list", "--json")

    rows = json.loads(done.stdout)
    assert (done.returncode, len(rows)) == (0, 50)
    assert set(CONTRACT) < rows[0].keys()
    assert (UUID(rows[0]["event_id"]).version, rows[0]["at"][:19]) == (7, "2026-11-23T12:00:00")


def test_list_command_prints_a_table_that_commands_no_terminal(ask: Ask, store: AuditStore) -> None:
    store.append([event(1, user="ana\x1b[31m\nbia", model_used="o3")])

    done = ask("audit", "list")

    head, row = done.stdout.splitlines()
    assert head.startswith("at (UTC)")
    assert row.startswith("2026-11-23 12:00:00  request  ana\N{REPLACEMENT CHARACTER}[31m")
    assert "o3" in row


def test_list_command_takes_since_where_the_company_is(ask: Ask, store: AuditStore) -> None:
    store.append([event(1, at=NOW), event(2, at=NOW + timedelta(hours=1))])

    done = ask("audit", "list", "--since", "2026-11-23T09:30:00", "--json")

    assert [row["at"] for row in json.loads(done.stdout)] == ["2026-11-23T13:00:00.120000+00:00"]


def test_list_command_tells_one_requests_story(ask: Ask, store: AuditStore) -> None:
    sent = events(5)
    store.append([*sent, event(9, event="webhook", request_id=sent[2].event_id)])

    done = ask("audit", "list", "--request", sent[2].event_id, "--json")

    assert [row["event"] for row in json.loads(done.stdout)] == ["webhook", "request"]
