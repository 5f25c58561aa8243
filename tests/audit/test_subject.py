"""One person's data: a copy of all of it, its end, and a hold that forbids it. Real Postgres."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, create_engine, make_url, text

from app.audit.chain import AuditKeys, merkle_root
from app.audit.content import ContentStore
from app.audit.store import AuditStore
from app.cli import cli
from app.cli.subject import subject
from app.config.catalog import Limit
from app.config.settings import PROJECT_ROOT, Settings
from app.embedded.network import free_port
from app.events.event import LiteLLMEvent
from app.events.store import EventStore
from app.extensions import services_of
from app.ledger.book import Demand, Granted, Lease, Release, Reserve, Settle, Spend
from app.ledger.raises import add_raise
from app.ledger.rules import Payer, Raise, accounts_for
from app.ledger.store import LedgerStore
from app.models import Base
from app.services.key_store import KeyStore
from app.services.kill_switch_store import KillSwitchStore
from app.services.page_session_store import PageSession, PageSessionStore
from app.services.people_store import PeopleStore, Sighting
from app.services.raise_request_store import RaiseRequestStore
from app.services.subject_erasure import SubjectBusyError
from app.services.subject_service import (
    NotHeldError,
    NotOwnerError,
    SubjectHeldError,
    SubjectService,
    UnknownSubjectError,
    owner_engine,
)
from app.serving.flask_app import SolarisFlask
from app.utils.clock import SystemClock
from app.utils.helpers import generate_request_id
from app.utils.pseudonyms import stand_in
from tests.audit.events import NOW, event
from tests.audit.test_audit_store import ZONE, copied_rows
from tests.audit.test_content import told
from tests.conftest import SECRET_KEY
from tests.servers import environment_of

# Nothing else is spelled like these.
ANA = {
    "id": "ana-7c1f-canary",
    "name": "Ana Canária Um",
    "email": "ana.canaria.um@exemplo.com",
    "key": "notebook-da-ana-canaria",
    "conversation": "talk-of-ana-canary",
    "prompt": "ana-pergunta-canaria",
}
# What LiteLLM sees of her.
ANAS_STAND_IN = stand_in(SECRET_KEY, ANA["id"])
BIA = {
    "id": "bia-9d2e-canary",
    "name": "Bia Canária Dois",
    "email": "bia.canaria.dois@exemplo.com",
    "key": "notebook-da-bia-canaria",
    "conversation": "talk-of-bia-canary",
    "prompt": "bia-pergunta-canaria",
}
ANAS_COST, BIAS_COST = 111_111, 777_777
# Of each: a key that was made, two calls and a change.
EVENTS = 8


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.fixture
def keys(settings: Settings) -> AuditKeys:
    return AuditKeys(settings.audit.hmac_keys)


@pytest.fixture
def store(engine: Engine, keys: AuditKeys) -> AuditStore:
    return AuditStore(engine, keys.current, ZONE, ContentStore(engine, keys))


@pytest.fixture
def subjects(app: SolarisFlask) -> SubjectService:
    return services_of(app).subjects


@pytest.fixture
def ledger(engine: Engine) -> Iterator[LedgerStore]:
    ledger = LedgerStore(engine)
    yield ledger
    ledger.close()


@pytest.fixture
def people(
    app: SolarisFlask, engine: Engine, store: AuditStore, ledger: LedgerStore, settings: Settings
) -> None:
    """Ana and Bia, with something of each in every table; LiteLLM knows Ana by two names more."""
    events = EventStore(engine)
    for number, user in enumerate((ANAS_STAND_IN, ANA["email"], BIA["id"])):
        said = LiteLLMEvent(f"e-{number}", "request_end", NOW, NOW, "r-1", user, "gpt-4o")
        events.add([said])
    ledger.add_missing([Limit(None, "cost", "month", 10**9, "enforce", each="user")])
    for whose, cost in ((ANA, ANAS_COST), (BIA, BIAS_COST)):
        sighting = Sighting(
            whose["id"], whose["name"], whose["email"], None, "vendas", "librechat", NOW
        )
        PeopleStore(engine).record([sighting])
        services_of(app).access.create_key(whose["key"], user_id=whose["id"])
        for scope, name in (("user", whose["id"]), ("key", whose["key"])):
            ledger.set_budget(scope, name, "tokens", "day", 10_000 + cost, "enforce")
        spend(ledger, whose, cost)
        store.append(events_of(whose, cost, settings.audit.hmac_keys[0]))
        run(engine, "INSERT INTO calls_under_way VALUES (:person, '{}')", person=whose["id"])
        alert(engine, whose["id"])
        give_raise(ledger, whose)
        visit_pages(engine, ledger, whose)
        switch = {"scope": "user", "subject": whose["id"], "reason": f"de {whose['name']}"}
        KillSwitchStore(engine).throw(
            **switch, expires_at=None, now=datetime.now(UTC), by="cli:dpo-canary"
        )


def give_raise(ledger: LedgerStore, whose: dict[str, str]) -> None:
    budget = next(it for it in ledger.budgets() if it.subject == whose["id"])
    raised = Raise(whose["id"], 5, datetime.now(UTC), later())
    with ledger.asking() as cursor:
        add_raise(cursor, budget.id, raised, reason=f"para {whose['name']}", by="key:ADMIN_API_KEY")


def visit_pages(engine: Engine, ledger: LedgerStore, whose: dict[str, str]) -> None:
    """They are signed in, have another link, and have asked for more."""
    sessions = PageSessionStore(engine)
    token_hash = sha256(whose["name"].encode()).digest()
    sessions.begin(token_hash, PageSession(None, whose["id"]), NOW, later())
    sessions.add_link(token_hash, whose["id"], "key:librechat", NOW, later())
    budget = next(it for it in ledger.budgets() if it.subject == whose["id"])
    RaiseRequestStore(engine).add(
        budget_id=budget.id,
        subject=whose["id"],
        amount=7,
        days=1,
        reason=f"de {whose['name']}",
        now=NOW,
    )


def alert(engine: Engine, person: str) -> None:
    """Somebody's budget was used up: the alert, its message, and a digest that names it."""
    facts = json.dumps({"scope": "user", "subject": person, "metric": "cost"})
    place = f"user {person} cost/month"
    run(
        engine,
        "INSERT INTO alerts (id, rule, subject, state, severity, opened_at, seen_at, told_at,"
        " level, facts, messages, total, untold, is_hushed, owes_end) VALUES (:place,"
        " 'budget_threshold', :place, 'opened', 'critical', :at, :at, :at, 100, :facts, 1, 1, 0,"
        " false, true)",
        place=place,
        facts=facts,
        at=NOW,
    )
    for kind, body in (
        ("opened", {"facts": json.loads(facts), "items": []}),
        ("digest", {"facts": {}, "items": [{"rule": "budget_threshold", "subject": place}]}),
    ):
        run(
            engine,
            "INSERT INTO alert_messages (id, body) VALUES (:id, :body)",
            id=f"{kind}-{generate_request_id()}",
            body=json.dumps(body),
        )


def events_of(whose: dict[str, str], cost: int, secret: str) -> list[Any]:
    facts: dict[str, Any] = {
        "user": whose["id"],
        "cost_micro_usd": cost,
        "private": {"conversation_id": whose["conversation"], "ip": "10.9.8.7"},
        "secret": secret,
    }
    changed = event(
        2,
        event="user_set",
        user=whose["id"],
        key=None,
        private={"facts": {"before": {"name": whose["name"]}, "after": {"name": "?"}}},
        detail={"by": "cli:dpo-canary"},
    )
    return [
        told(0, whose["prompt"], "resposta a " + whose["prompt"], key="librechat", **facts),
        told(1, whose["prompt"], "outra", key=whose["key"], **facts),
        changed,
    ]


def spend(ledger: LedgerStore, whose: dict[str, str], cost: int) -> None:
    """A settled call, and a lease that was given back."""
    request_id, accounts = reserve(ledger, whose, "call")
    ledger.apply([Settle(request_id, Spend(10, cost), is_estimated=False)])
    account = next(it for it in accounts if it.budget.scope == "user")
    lease = f"lease.worker.{account.budget.id}.{account.subject}.20261123T00"
    ledger.apply([Lease(lease, account, 100, 0, later())])
    ledger.apply([Release(lease)])


def reserve(ledger: LedgerStore, whose: dict[str, str], name: str) -> tuple[str, tuple[Any, ...]]:
    request_id = f"{name}-{whose['id'][:3]}"
    wish = wish_of(ledger, request_id, Payer(whose["id"], "vendas", whose["key"]))
    (granted,) = ledger.apply([wish])
    assert isinstance(granted, Granted)
    return request_id, wish.accounts


def wish_of(ledger: LedgerStore, request_id: str, payer: Payer) -> Reserve:
    accounts = tuple(accounts_for(ledger.budgets(), payer, ["gpt-4o"], datetime.now(UTC), ZONE))
    demand = Demand(10, 10, 1, 100, 100, is_flexible=False)
    who = (payer.user, payer.team, payer.key)
    return Reserve(request_id, "gpt-4o", accounts, demand, later(), *who)


def later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=30)


def run(engine: Engine, statement: str, **values: Any) -> Any:
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        return result.scalar() if result.returns_rows else result.rowcount


COLUMNS = """
    SELECT table_name, column_name FROM information_schema.columns
    JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1, 2
"""


def places_of(engine: Engine, needle: str) -> list[str]:
    """Return every table and column, of whatever type, that has it in it, as text or as bytes."""
    with engine.connect() as connection:
        columns = connection.execute(text(COLUMNS)).all()
        is_there = (
            'SELECT count(*) FROM "{0}" WHERE position(:plain IN "{1}"::text) > 0'
            ' OR position(:hex IN "{1}"::text) > 0'
        )
        values = {"plain": needle, "hex": needle.encode().hex()}
        return [
            f"{table}.{column}"
            for table, column in columns
            if connection.execute(text(is_there.format(table, column)), values).scalar_one()
        ]


# --- export --------------------------------------------------------------------------------------


def test_export_has_everything_of_the_person(people: None, subjects: SubjectService) -> None:
    found = subjects.export(ANA["id"])

    assert found["person"][0]["email"] == ANA["email"]
    assert [(it["name"], it["revoked_at"]) for it in found["keys"]] == [(ANA["key"], None)]
    assert {(it["scope"], it["subject"]) for it in found["budgets"]} == {
        ("user", ANA["id"]),
        ("key", ANA["key"]),
    }
    assert {it["scope"] for it in found["budget_lines"]} == {"user", "key"}
    assert [(it["subject"], it["amount"]) for it in found["budget_raises"]] == [(ANA["id"], 5)]
    assert [it["lifted_at"] for it in found["kill_switches"]] == [None]
    assert [(it["amount"], it["state"]) for it in found["raise_requests"]] == [(7, "open")]
    assert len(found["page_sessions"]) == 1
    assert [it["posted"] for it in found["holds"]] == [[10, ANAS_COST, 1]]
    assert sum(it["cost_micro_usd"] for it in found["usage"]) == 2 * ANAS_COST
    assert sorted(it["event"] for it in found["events"]) == [
        "key_created",
        "request",
        "request",
        "user_set",
    ]
    private = {it["event"]: it["private"] for it in found["events"]}
    assert private["request"]["conversation_id"] == ANA["conversation"]
    assert private["user_set"]["facts"]["before"] == {"name": ANA["name"]}
    assert [it["prompt"] for it in found["contents"]] == [ANA["prompt"]] * 2
    assert found["calls_under_way"] == [{"calls": {}}]
    assert [it["id"] for it in found["litellm_events"]] == ["e-0", "e-1"]


def test_export_has_as_many_rows_as_the_tables(
    people: None, engine: Engine, subjects: SubjectService
) -> None:
    found = subjects.export(ANA["id"])

    number = run(engine, "SELECT id FROM audit_names WHERE value = :id", id=ANA["id"])
    for section, table, column in (
        ("events", "audit_events", "user_id"),
        ("contents", "audit_contents", "name_id"),
        ("usage", "usage_days", "user_id"),
    ):
        count = run(engine, f"SELECT count(*) FROM {table} WHERE {column} = {number}")
        # The export itself is on record after it.
        assert len(found[section]) == count - (section == "events"), section


def test_export_has_nothing_of_others(people: None, solaris: Callable[..., Result]) -> None:
    document = solaris("subject", "export", ANA["id"]).stdout

    assert [it for it in BIA.values() if it in document] == []
    assert str(BIAS_COST) not in document
    assert "dpo-canary" not in document
    assert "key_hash" not in document


def test_export_names_no_key_of_another_person(
    people: None, store: AuditStore, subjects: SubjectService
) -> None:
    store.append([event(5, user=ANA["id"], key=BIA["key"])])

    found = subjects.export(ANA["id"])

    assert found["events"][-1]["key"] is None


def test_export_to_a_file_is_for_its_owner_only(
    people: None, solaris: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "ana.json"
    path.touch(0o644)

    done = solaris("subject", "export", ANA["id"], "--output", str(path))

    assert (done.exit_code, done.stdout) == (0, "")
    assert json.loads(path.read_text())["subject"] == ANA["id"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("command", ["export", "erase", "hold", "unhold"])
@pytest.mark.parametrize("person", ["nobody-of-this-id", "*", ""])
def test_command_about_nobody_changes_nothing(
    people: None,
    engine: Engine,
    solaris: Callable[..., Result],
    command: str,
    person: str,
) -> None:
    options = {"erase": ["--yes"], "hold": ["--reason", "x"]}.get(command, [])

    done = solaris("subject", command, person, *options)

    assert done.exit_code == (1 if person.isprintable() and person not in ("", "*") else 2)
    assert run(engine, "SELECT count(*) FROM audit_events") == EVENTS
    assert run(engine, "SELECT count(*) FROM legal_holds") == 0


# --- erase ---------------------------------------------------------------------------------------


def test_erased_person_is_in_no_column_of_no_table(
    people: None, engine: Engine, subjects: SubjectService
) -> None:
    subjects.hold(ANA["id"], f"processo de {ANA['name']}")
    subjects.unhold(ANA["id"])
    anas = {**ANA, "stand_in": ANAS_STAND_IN}
    there = {fact: places_of(engine, value) for fact, value in anas.items()}

    subjects.erase(ANA["id"])

    assert all(there[fact] for fact in ("id", "name", "email", "key", "stand_in"))
    assert [it for value in anas.values() for it in places_of(engine, value)] == []


def test_erasing_one_leaves_another_as_they_were(
    people: None, engine: Engine, subjects: SubjectService
) -> None:
    there = {fact: places_of(engine, value) for fact, value in BIA.items()}
    before = subjects.export(BIA["id"])

    subjects.erase(ANA["id"])

    after = subjects.export(BIA["id"])
    assert {fact: places_of(engine, value) for fact, value in BIA.items()} == there
    # Her own export is on record meanwhile.
    assert after["events"].pop()["event"] == "subject_export"
    assert after | {"exported_at": None} == before | {"exported_at": None}


def test_erasure_changes_no_row_and_no_checkpoint(
    people: None, engine: Engine, keys: AuditKeys, subjects: SubjectService
) -> None:
    def signed() -> tuple[list[Any], list[Any]]:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT seq, code FROM audit_events ORDER BY seq"))
            points = connection.execute(
                text("SELECT id, first_seq, last_seq, merkle_root, code FROM audit_checkpoints")
            )
            return [(n, bytes(code)) for n, code in rows], [tuple(map(_bytes, it)) for it in points]

    rows_before, points_before = signed()

    subjects.erase(ANA["id"])

    rows, points = signed()
    assert rows[: len(rows_before)] == rows_before
    assert points[: len(points_before)] == points_before
    # The erasure itself is the one row more.
    assert (len(rows), len(points)) == (len(rows_before) + 1, len(points_before) + 1)
    copied = copied_rows(engine)
    assert [keys.current.row_code(row) for row in copied] == [code for _, code in rows]
    for _, first, last, root, _ in points:
        assert merkle_root(copied[first - 1 : last]) == root


def _bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def test_figures_stay_under_the_pseudonym(
    people: None, engine: Engine, subjects: SubjectService
) -> None:
    query = "SELECT sum(cost_micro_usd) FROM usage_days"
    before = run(engine, query)

    pseudonym = subjects.erase(ANA["id"])

    number = pseudonym.removeprefix("erased-")
    assert run(engine, query) == before
    assert run(engine, f"{query} WHERE user_id = {number}") == 2 * ANAS_COST
    lines = "SELECT sum(posted) FROM budget_lines WHERE subject = :it"
    assert run(engine, lines, it=pseudonym) == ANAS_COST + 10
    assert run(engine, "SELECT count(*) FROM holds WHERE user_id = :it", it=pseudonym) == 1


def test_keys_of_the_erased_are_revoked_where_workers_look(
    people: None, app: SolarisFlask, engine: Engine, subjects: SubjectService
) -> None:
    run(engine, "UPDATE api_keys SET updated_at = now() - interval '1 hour'")

    subjects.erase(ANA["id"])

    assert [it.user_id for it in services_of(app).access.list_keys()] == [BIA["id"]]
    assert len(KeyStore(engine).changes(60)) == 1


def test_name_that_two_keys_have_is_not_taken_from_the_other(
    people: None, app: SolarisFlask, engine: Engine, subjects: SubjectService
) -> None:
    services_of(app).access.revoke_key(ANA["key"])
    services_of(app).access.create_key(ANA["key"], user_id=BIA["id"])

    subjects.erase(ANA["id"])

    assert run(engine, "SELECT value FROM audit_names WHERE value = :it", it=ANA["key"])
    assert run(engine, "SELECT user_id FROM api_keys WHERE name = :it", it=ANA["key"]) == BIA["id"]


def test_team_of_the_same_name_keeps_it(
    people: None, engine: Engine, ledger: LedgerStore, subjects: SubjectService
) -> None:
    ledger.set_budget("team", ANA["id"], "cost", "day", 10**9, "enforce")
    ledger.apply([wish_of(ledger, "team", Payer("carla", ANA["id"], "other"))])

    subjects.erase(ANA["id"])

    ledger.apply([Settle("team", Spend(1, 1), is_estimated=False)])
    assert run(engine, "SELECT team_id FROM holds WHERE request_id = 'team'") == ANA["id"]
    lines = "SELECT posted FROM budget_lines WHERE subject = :it"
    assert run(engine, lines, it=ANA["id"]) == 1


def test_calls_under_way_are_waited_for(
    people: None, engine: Engine, ledger: LedgerStore, subjects: SubjectService
) -> None:
    request_id, _ = reserve(ledger, ANA, "open")

    with pytest.raises(SubjectBusyError) as raised:
        subjects.erase(ANA["id"])

    assert raised.value.until is not None
    assert run(engine, "SELECT count(*) FROM users WHERE id = :id", id=ANA["id"]) == 1
    ledger.apply([Settle(request_id, Spend(1, 1_000), is_estimated=False)])
    assert subjects.erase(ANA["id"]).startswith("erased-")


def test_lease_that_is_held_for_the_person_is_waited_for(
    people: None, ledger: LedgerStore, subjects: SubjectService
) -> None:
    request_id, accounts = reserve(ledger, ANA, "open")
    ledger.apply([Settle(request_id, Spend(1, 1_000), is_estimated=False)])
    account = next(it for it in accounts if it.budget.scope == "user")
    ledger.apply([Lease("lease.x", account, 100, 0, later())])

    with pytest.raises(SubjectBusyError):
        subjects.erase(ANA["id"])


def test_whoever_calls_under_the_id_again_is_a_new_person(
    people: None, store: AuditStore, engine: Engine, subjects: SubjectService
) -> None:
    pseudonym = subjects.erase(ANA["id"])

    store.append([event(9, user=ANA["id"], key="librechat")])

    found = subjects.export(ANA["id"])
    assert [it["event"] for it in found["events"]] == ["request"]
    assert len(found["usage"]) == 1
    assert subjects.erase(ANA["id"]) != pseudonym
    assert places_of(engine, ANA["id"]) == []


def test_late_event_with_content_of_the_erased_is_stored_all_the_same(
    people: None,
    settings: Settings,
    store: AuditStore,
    engine: Engine,
    subjects: SubjectService,
) -> None:
    late = events_of(ANA, 1, settings.audit.hmac_keys[0])

    subjects.erase(ANA["id"])
    store.append(late)

    assert run(engine, "SELECT count(*) FROM audit_contents") == 4


def test_event_that_is_sent_again_after_the_erasure_brings_nobody_back(
    people: None,
    settings: Settings,
    store: AuditStore,
    engine: Engine,
    subjects: SubjectService,
) -> None:
    sent = events_of(ANA, 1, settings.audit.hmac_keys[0])
    store.append(sent)

    subjects.erase(ANA["id"])
    store.append(sent)

    assert places_of(engine, ANA["id"]) == []


def test_person_who_never_called_can_be_erased(
    engine: Engine, app: SolarisFlask, subjects: SubjectService
) -> None:
    services_of(app).people.set_person("zoe-canary", {"name": "Zoé Canária"})

    pseudonym = subjects.erase("zoe-canary")

    assert pseudonym.startswith("erased-")
    assert places_of(engine, "zoe-canary") == places_of(engine, "Canária") == []


def test_erasure_that_fails_leaves_everything(
    people: None, engine: Engine, subjects: SubjectService
) -> None:
    run(engine, "ALTER TABLE users RENAME TO users_away")
    try:
        with pytest.raises(Exception):  # noqa: B017, PT011  # whatever: it must not be half done
            subjects.erase(ANA["id"])
    finally:
        run(engine, "ALTER TABLE users_away RENAME TO users")

    assert run(engine, "SELECT count(*) FROM audit_names WHERE value IS NULL") == 0
    assert run(engine, "SELECT count(*) FROM audit_events") == EVENTS


# --- holds and the register ----------------------------------------------------------------------


def test_hold_refuses_erasure_until_it_is_lifted(
    people: None, engine: Engine, subjects: SubjectService
) -> None:
    subjects.hold(ANA["id"], "processo 0001")

    with pytest.raises(SubjectHeldError):
        subjects.erase(ANA["id"])

    assert run(engine, "SELECT count(*) FROM users WHERE id = :id", id=ANA["id"]) == 1
    subjects.unhold(ANA["id"])
    subjects.erase(ANA["id"])


def test_hold_on_everybody_refuses_every_erasure(
    people: None, engine: Engine, subjects: SubjectService
) -> None:
    run(engine, "INSERT INTO legal_holds (reason, set_by) VALUES ('fiscalização', 'dpo')")

    with pytest.raises(SubjectHeldError):
        subjects.erase(BIA["id"])


def test_hold_on_somebody_else_forbids_nothing(people: None, subjects: SubjectService) -> None:
    subjects.hold(BIA["id"], "processo 0002")

    assert subjects.erase(ANA["id"])


def test_hold_that_does_not_stand_cannot_be_lifted(people: None, subjects: SubjectService) -> None:
    subjects.hold(ANA["id"], "processo 0001")
    subjects.unhold(ANA["id"])

    with pytest.raises(NotHeldError):
        subjects.unhold(ANA["id"])


def test_register_says_who_did_what_to_whom(
    people: None, solaris: Callable[..., Result], subjects: SubjectService
) -> None:
    for command in (["export"], ["hold", "--reason", "x"], ["unhold"], ["erase", "--yes"]):
        assert solaris("subject", command[0], ANA["id"], *command[1:]).exit_code == 0

    rows = json.loads(solaris("subject", "list-operations", "--json").stdout)

    assert [row["operation"] for row in rows] == [
        "subject_erase",
        "subject_unhold",
        "subject_hold",
        "subject_export",
    ]
    assert {row["subject"].partition("-")[0] for row in rows} == {"erased"}
    assert all(row["by"] for row in rows)


# --- the command line, and roles -----------------------------------------------------------------


@pytest.fixture
def solaris(app: SolarisFlask, settings: Settings) -> Callable[..., Result]:
    """Run a command in this process: ``solaris("subject", "export", "ana", input="n")``."""
    environment = environment_of(settings, free_port())
    environment.pop("LOCALE")

    def invoke(*arguments: str, locale: str = "pt_BR", input: str | None = None) -> Result:  # noqa: A002
        return CliRunner().invoke(cli, arguments, env=environment | {"LOCALE": locale}, input=input)

    return invoke


@pytest.mark.parametrize("said", ["n\n", ""])
def test_erase_asks_before_it_does(
    people: None, engine: Engine, solaris: Callable[..., Result], said: str
) -> None:
    done = solaris("subject", "erase", ANA["id"], input=said)

    assert done.exit_code == 1
    assert "Não há volta" in done.stderr
    assert run(engine, "SELECT count(*) FROM users WHERE id = :id", id=ANA["id"]) == 1


def test_erase_prints_the_pseudonym_alone(people: None, solaris: Callable[..., Result]) -> None:
    done = solaris("subject", "erase", ANA["id"], input="y\n", locale="en")

    assert done.exit_code == 0
    assert done.stdout.strip().startswith("erased-")
    assert len(done.stdout.split()) == 1


def test_erase_of_who_is_held_says_why_not(
    people: None, solaris: Callable[..., Result], subjects: SubjectService
) -> None:
    subjects.hold(ANA["id"], "processo 0001")

    done = solaris("subject", "erase", ANA["id"], "--yes")

    assert done.exit_code == 1
    assert "retenção legal" in done.stderr


@pytest.fixture
def application_url(engine: Engine, clean_database: str) -> Iterator[str]:
    """A role as the application has it: of the trail it may read and add, no more."""
    run(engine, "CREATE ROLE subject_app LOGIN PASSWORD 'subject-app'")
    run(
        engine, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO subject_app"
    )
    run(
        engine,
        "REVOKE UPDATE, DELETE ON audit_events, audit_names, audit_checkpoints, audit_contents"
        " FROM subject_app",
    )
    run(engine, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO subject_app")
    url = make_url(clean_database).set(username="subject_app", password="subject-app")
    yield url.render_as_string(hide_password=False)
    run(engine, "DROP OWNED BY subject_app")
    run(engine, "DROP ROLE subject_app")


def test_application_role_may_not_erase(
    people: None,
    application_url: str,
    keys: AuditKeys,
    engine: Engine,
    store: AuditStore,
    tmp_path: Path,
) -> None:
    contents = ContentStore(engine, keys).keys
    role = owner_engine(application_url)
    subjects = SubjectService(role, store, contents, SystemClock(), tmp_path, str.upper)

    with pytest.raises(NotOwnerError):
        subjects.erase(ANA["id"])

    assert run(engine, "SELECT count(*) FROM audit_names WHERE value IS NULL") == 0


def test_command_works_as_the_owner_where_the_application_is_another(
    people: None, application_url: str, settings: Settings, clean_database: str
) -> None:
    environment = environment_of(settings, free_port()) | {
        "DATABASE_URL": application_url,
        "MIGRATION_DATABASE_URL": clean_database,
    }

    done = CliRunner().invoke(cli, ["subject", "erase", ANA["id"], "--yes"], env=environment)

    assert (done.exit_code, done.stdout[:7]) == (0, "erased-")


def test_nobody_known_is_said_as_such(subjects: SubjectService) -> None:
    with pytest.raises(UnknownSubjectError):
        subjects.export("nobody-of-this-id")


def test_trail_is_anchored_after_an_operation(
    people: None, settings: Settings, engine: Engine, subjects: SubjectService
) -> None:
    folder = settings.server.state_dir / "audit"
    folder.mkdir(parents=True)

    subjects.export(ANA["id"])

    last = run(engine, "SELECT max(id) FROM audit_checkpoints")
    assert json.loads((folder / "anchor.json").read_text())["id"] == last


# --- the guide -----------------------------------------------------------------------------------

GUIDES = [PROJECT_ROOT / "docs" / name for name in ("lgpd.md", "lgpd.pt-BR.md")]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda it: it.name)
def test_guide_names_every_table_and_every_command(guide: Path) -> None:
    told = guide.read_text(encoding="utf-8")
    # Of these no person is in.
    elsewhere = {"audit_checkpoints", "audit_drops", "teams", "legal_holds", "calls_under_way"}
    elsewhere |= {"reconciliations", "alert_channels", "alert_counts", "alert_deliveries"}
    elsewhere |= {"alert_looks", "alert_signals"}

    assert [
        it for it in Base.metadata.tables if it not in elsewhere and f"`{it}`" not in told
    ] == []
    assert [it for it in subject.commands if f"solaris subject {it}" not in told] == []


def test_guides_say_the_same_in_both_languages() -> None:
    english, portuguese = ([_codes(line) for line in _rows(it)] for it in GUIDES)

    assert english == portuguese


def _rows(guide: Path) -> list[str]:
    return [it for it in guide.read_text(encoding="utf-8").splitlines() if it.startswith("| ")]


def _codes(row: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", row))
