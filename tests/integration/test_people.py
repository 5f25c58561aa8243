"""People and teams with a real Postgres: what clients say, what administrators say, and calls."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from app.extensions import db, services_of
from app.services.people_service import PeopleService
from app.services.people_store import (
    PeopleStore,
    PersonExistsError,
    PersonNotFoundError,
    Sighting,
    TeamExistsError,
    TeamNotFoundError,
)
from app.serving.flask_app import SolarisFlask
from tests.asgi_client import AsgiClient
from tests.servers import ProxyServer, run_solaris
from tests.waiting import wait_until

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "oi"}]}
SOON_S = 5.0
FIRST = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(clean_database: str) -> Iterator[PeopleStore]:
    engine = create_engine(clean_database)
    yield PeopleStore(engine)
    engine.dispose()


@pytest.fixture
def people(app: SolarisFlask) -> PeopleService:
    return services_of(app).people


def sighting(user_id: str | None = "ana", **facts: Any) -> Sighting:
    nothing = Sighting(user_id, None, None, None, None, "librechat", FIRST)
    return replace(nothing, **facts)


# --- what clients say ----------------------------------------------------------------------------


def test_person_named_for_the_first_time_appears_with_their_team(people: PeopleService) -> None:
    store = people._store
    said = {"name": "Ana", "email": "ana@x.br", "role": "USER", "team_id": "vendas"}

    store.record([sighting(**said)])

    (row,) = people.people()
    recorded_ago = datetime.now(UTC) - row.pop("created_at")
    assert timedelta(0) <= recorded_ago < timedelta(minutes=1)
    assert row == {
        "id": "ana",
        "name": "Ana",
        "email": "ana@x.br",
        "role": "USER",
        "team": "vendas",
        "team_assigned": False,
        "first_key": "librechat",
        "first_seen_at": FIRST,
        "last_seen_at": FIRST,
    }
    assert [(team["id"], team["people"]) for team in people.teams()] == [("vendas", 1)]


def test_person_named_again_keeps_what_is_not_said_and_the_first_time(store: PeopleStore) -> None:
    later = FIRST + timedelta(hours=1)
    store.record([sighting(name="Ana", email="ana@x.br", team_id="vendas")])

    store.record([sighting(name="Ana Souza", key="openwebui", at=later)])

    ana = store.person("ana")
    assert (ana.name, ana.email, ana.team_id) == ("Ana Souza", "ana@x.br", None)
    assert (ana.first_key, ana.first_seen_at, ana.last_seen_at) == ("librechat", FIRST, later)


def test_word_that_comes_late_does_not_undo_a_later_one(store: PeopleStore) -> None:
    store.record([sighting(name="new", team_id="ti")])

    store.record([sighting(name="old", team_id="rh", at=FIRST - timedelta(minutes=1))])

    ana = store.person("ana")
    assert (ana.name, ana.team_id, ana.last_seen_at) == ("new", "ti", FIRST)
    assert ana.first_seen_at == FIRST - timedelta(minutes=1)


def test_workers_that_write_the_same_people_at_once_do_not_stop_each_other(
    store: PeopleStore,
) -> None:
    crowd = [sighting(f"p{number}", team_id=f"t{number % 7}") for number in range(300)]
    orders = [crowd, crowd[::-1], crowd[100:] + crowd[:100], crowd[200:] + crowd[:200]]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(store.record, orders * 3))

    assert (len(store.people()), len(store.teams())) == (300, 7)


def test_words_of_clients_are_only_words(store: PeopleStore) -> None:
    evil = "'); DROP TABLE users; --"

    store.record([sighting(evil, name=evil, email="%s", role="{}", team_id=evil)])

    assert [it.id for it in store.people(team=evil)] == [evil]


# --- what administrators say ---------------------------------------------------------------------


def test_word_of_an_administrator_stands_before_what_clients_say(store: PeopleStore) -> None:
    store.record([sighting(name="x", email="x@x.br", team_id="rh")])
    store.change_person("ana", {"name": "Ana", "email": "ana@x.br", "team_id": "ti"})

    store.record([sighting(name="y", email="y@x.br", team_id="vendas", role="USER")])

    ana = store.person("ana")
    assert (ana.name, ana.email, ana.team_id, ana.role) == ("Ana", "ana@x.br", "ti", "USER")


def test_fact_taken_away_is_left_to_clients_again(store: PeopleStore) -> None:
    store.set_person("ana", {"name": "Ana", "team_id": "ti"})
    store.change_person("ana", {"name": None, "team_id": None})

    store.record([sighting(name="y", team_id="vendas")])

    ana = store.person("ana")
    assert (ana.name, ana.team_id, ana.pinned) == ("y", "vendas", frozenset())


def test_person_made_before_their_first_call_keeps_their_team(people: PeopleService) -> None:
    made = people.create_person("ana", {"team": "ti", "name": "Ana"})

    people._store.record([sighting(team_id="vendas")])

    after = people.person("ana")
    assert (made["first_seen_at"], made["team"], made["team_assigned"]) == (None, "ti", True)
    assert (after["team"], after["first_seen_at"], after["first_key"]) == ("ti", FIRST, "librechat")


def test_teams_that_were_given_are_the_only_assignments(store: PeopleStore) -> None:
    store.record([sighting("ana", team_id="rh"), sighting("bob", team_id="rh")])
    store.change_person("bob", {"team_id": "ti"})
    store.set_person("carla", {"team_id": "ti"})
    store.set_person("carla", {"team_id": None})

    assert store.assignments() == {"bob": "ti", "carla": None}
    assert store.assignments(60.0) == {"bob": "ti", "carla": None}
    assert store.assignments(0.0) == {}


def test_team_taken_away_is_nobodys_any_more(people: PeopleService) -> None:
    people.set_person("bob", {"team": "ti"})
    people._store.record([sighting("ana", team_id="ti")])

    people.remove_team("ti")

    assert [(it["id"], it["team"], it["team_assigned"]) for it in people.people()] == [
        ("ana", None, False),
        ("bob", None, False),
    ]
    assert people._store.assignments() == {"bob": None}
    assert people.teams() == []


def test_set_tells_who_is_new(people: PeopleService) -> None:
    assert [people.set_person("ana", {"team": "ti"}) for _ in range(2)] == [True, False]
    assert [people.set_team(team, "TI") for team in ("ti", "rh", "rh")] == [False, True, False]
    assert [(it["id"], it["name"]) for it in people.teams()] == [("rh", "TI"), ("ti", "TI")]


def test_who_is_there_cannot_be_made_and_who_is_not_cannot_be_changed(
    people: PeopleService,
) -> None:
    people.create_person("ana", {"team": "ti"})
    people.create_team("rh")

    with pytest.raises(PersonExistsError):
        people.create_person("ana", {})
    with pytest.raises(TeamExistsError):
        people.create_team("rh", "RH")
    with pytest.raises(PersonNotFoundError):
        people.change_person("bob", {"team": "ti"})
    with pytest.raises(PersonNotFoundError):
        people.remove_person("bob")
    with pytest.raises(PersonNotFoundError):
        people.person("bob")
    with pytest.raises(TeamNotFoundError):
        people.change_team("vendas", "Vendas")
    with pytest.raises(TeamNotFoundError):
        people.remove_team("vendas")
    with pytest.raises(TeamNotFoundError):
        people.team("vendas")


def test_person_forgotten_is_gone(people: PeopleService) -> None:
    people.create_person("ana", {})
    changed = people.change_person("ana", {"email": " ana@x.br "})

    people.remove_person("ana")

    assert (changed["email"], people.people()) == ("ana@x.br", [])


# --- calls ---------------------------------------------------------------------------------------


def listed(proxy: ProxyServer, *arguments: str) -> list[dict[str, Any]]:
    done = run_solaris(proxy.environment, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def call(client: AsgiClient, key: str, person: str | None = None, **more: str) -> int:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **more}
    if person:
        headers["X-Solaris-User-Id"] = person
    return client.call("POST", CHAT, headers.items(), json.dumps(BODY).encode()).status


def test_people_who_call_appear_in_the_list_soon_and_in_no_log(
    start_proxy: Callable[..., ProxyServer], make_key: Callable[..., str]
) -> None:
    proxy = start_proxy(workers=2)
    headers = {
        "Authorization": f"Bearer {make_key(trusted=True, name='librechat')}",
        "X-Solaris-User-Id": "ana",
        "X-Solaris-User-Name": "Ana Canario",
        "X-Solaris-User-Email": "canario@example.com",
        "X-Solaris-Team": "vendas",
    }
    url = f"{proxy.url}{CHAT}"
    request = urllib.request.Request(url, json.dumps(BODY).encode(), headers)
    urllib.request.urlopen(request).close()

    # Each look starts a process, which takes its time on a busy machine.
    wait_until(lambda: listed(proxy, "users", "list"), within_s=4 * SOON_S)
    (row,) = listed(proxy, "users", "show", "ana")
    assert (row["name"], row["email"]) == ("Ana Canario", "canario@example.com")
    assert (row["team"], row["first_key"]) == ("vendas", "librechat")
    assert [team["id"] for team in listed(proxy, "teams", "list")] == ["vendas"]
    proxy.stop()
    assert "canario" not in proxy.log.lower()


def test_people_met_in_the_last_moment_are_written_down_at_the_end(
    start_asgi: Callable[..., AsgiClient], make_key: Callable[..., str], people: PeopleService
) -> None:
    client = start_asgi()
    call(client, make_key(trusted=True), "ana")

    client.run(client.server.services.people.close())

    assert [it["id"] for it in people.people()] == ["ana"]


def test_person_named_by_an_untrusted_key_does_not_appear_but_its_owner(
    start_asgi: Callable[..., AsgiClient], make_key: Callable[..., str], people: PeopleService
) -> None:
    client = start_asgi()
    email = {"X-Solaris-User-Email": "boss@x.br"}
    call(client, make_key(user_id="bob", team_id="ti"), "boss", **email)

    client.run(client.server.services.people.close())

    assert [(it["id"], it["email"], it["team"]) for it in people.people()] == [("bob", None, "ti")]


def test_calls_of_known_people_ask_postgres_nothing_of_them(
    start_asgi: Callable[..., AsgiClient], make_key: Callable[..., str], people: PeopleService
) -> None:
    client = start_asgi()
    key = make_key(trusted=True)
    call(client, key, "ana")
    wait_until(people.people)
    asked: list[str] = []
    with client.server.app.app_context():
        engine = db.engine

    @event.listens_for(engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    for _ in range(60):
        call(client, key, "ana")

    assert [it for it in asked if "INSERT INTO users" in it] == []
    # What is left is the poll, once a second.
    assert len([it for it in asked if "FROM users" in it]) < 30


def test_team_that_is_given_binds_within_five_seconds_on_all_workers(
    start_proxy: Callable[..., ProxyServer], make_key: Callable[..., str]
) -> None:
    proxy = start_proxy(workers=2)
    place = ("--scope", "team", "--subject", "vazia", "--metric", "requests", "--period", "day")
    run_solaris(proxy.environment, "budgets", "set", *place, "--limit", "0")
    key = make_key(trusted=True)
    time.sleep(2.1)  # the budget binds every worker
    before = statuses_of(proxy, key, "rica")

    given = run_solaris(proxy.environment, "users", "set", "ana", "--team", "vazia")
    time.sleep(SOON_S)
    after = statuses_of(proxy, key, "rica")
    run_solaris(proxy.environment, "users", "set", "ana", "--team", "")
    time.sleep(SOON_S)

    assert given.returncode == 0, given.stderr
    assert (before, after, statuses_of(proxy, key, "rica")) == ({200}, {402}, {200})


def statuses_of(proxy: ProxyServer, key: str, team: str) -> set[int]:
    """Return what ana gets who is named in ``team``, on new connections, to both workers."""
    headers = {
        "Authorization": f"Bearer {key}",
        "X-Solaris-User-Id": "ana",
        "X-Solaris-Team": team,
    }
    statuses = set()
    for _ in range(12):
        request = urllib.request.Request(f"{proxy.url}{CHAT}", json.dumps(BODY).encode(), headers)
        try:
            with urllib.request.urlopen(request) as response:
                statuses.add(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            statuses.add(error.code)
    return statuses


def test_locked_table_of_people_stops_no_call(
    start_asgi: Callable[..., AsgiClient],
    make_key: Callable[..., str],
    people: PeopleService,
    clean_database: str,
) -> None:
    client = start_asgi()
    key = make_key(trusted=True)
    call(client, key, "bob")
    engine = create_engine(clean_database)

    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        began_s = time.monotonic()
        statuses = {call(client, key, f"new-{number}") for number in range(20)}
        took_s = time.monotonic() - began_s

    engine.dispose()
    assert statuses == {200}
    assert took_s < SOON_S
    wait_until(lambda: len(people.people()) == 21)
