"""The application's own role: it can add to the trail, and change nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import psycopg2
import pytest
from flask_migrate import upgrade
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from app import create_app
from app.audit.chain import AuditKey
from app.audit.grants import UnknownRoleError, grant
from app.audit.retention import AuditRetention, NotOwnerError
from app.audit.store import AuditStore
from app.audit.verify import verify_trail
from app.config.settings import DatabaseSettings, Settings
from app.embedded.network import free_port
from app.extensions import db, services_of
from tests.asgi_client import AsgiClient
from tests.audit.events import NOW, events
from tests.audit.trails import KEYS, PRESENT, ZONE, append
from tests.ledger.served import Served
from tests.servers import environment_of, run_solaris
from tests.waiting import wait_until

TABLES = ("audit_events", "audit_checkpoints", "audit_names", "audit_drops")


@pytest.fixture(scope="module")
def databases(database_url: str) -> Iterator[DatabaseSettings]:
    """A database of its own, whose application is not its owner."""
    name = f"roles_{uuid4().hex}"
    server = create_engine(database_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        connection.execute(text(f'CREATE ROLE "{name}-app" LOGIN'))
    owner = make_url(database_url).set(database=name)
    application = owner.set(username=f"{name}-app", password=None)
    urls = [it.render_as_string(hide_password=False) for it in (application, owner)]
    settings = DatabaseSettings(*urls)
    app = create_app(Settings(database=settings))
    with app.app_context():
        upgrade()
        db.engine.dispose()
    yield settings
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        connection.execute(text(f'DROP ROLE "{name}-app"'))
    server.dispose()


@pytest.fixture
def application(databases: DatabaseSettings) -> Iterator[Engine]:
    engine = create_engine(databases.url)
    yield engine
    engine.dispose()


@pytest.fixture
def owner(databases: DatabaseSettings) -> Iterator[Engine]:
    engine = create_engine(databases.migration_url)
    yield engine
    engine.dispose()


def test_application_adds_to_the_trail_and_reads_it(application: Engine) -> None:
    store = AuditStore(application, AuditKey.of(PRESENT), ZONE)

    first, second = store.append(events(3)), store.append(events(4))

    assert [it.rows for it in (*first, *second)] == [3, 4]
    assert verify_trail(application, KEYS).finding is None


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM {table}",
        "TRUNCATE {table}",
        "DROP TABLE {table}",
        "ALTER TABLE {table} DISABLE TRIGGER ALL",
        "UPDATE {table} SET code = NULL",
        "CREATE INDEX ON {table} (code)",
    ],
)
@pytest.mark.parametrize("table", [*TABLES, "audit_events_default", "audit_events_{month}"])
def test_application_changes_nothing_of_the_trail(
    application: Engine, owner: Engine, statement: str, table: str
) -> None:
    append(owner, 1)
    with owner.connect() as connection:
        month = connection.execute(text("SELECT to_char(now(), 'YYYY_MM')")).scalar_one()

    with application.connect() as connection, pytest.raises(ProgrammingError) as refused:
        connection.execute(text(statement.format(table=table.format(month=month))))

    assert isinstance(refused.value.orig, psycopg2.errors.InsufficientPrivilege)


def test_application_records_no_retention_and_deletes_no_hold(application: Engine) -> None:
    for statement in (
        "INSERT INTO audit_drops VALUES ('2026-01-01', 1, now(), 1, 'k', 'c')",
        "DELETE FROM legal_holds",
        "DELETE FROM usage_days",
        "DROP TABLE api_keys",
        "CREATE TABLE mine (id int)",
    ):
        with (
            application.connect() as connection,
            pytest.raises(ProgrammingError, match=r"denied|owner"),
        ):
            connection.execute(text(statement))


def test_partition_that_is_made_later_can_only_be_added_to(
    owner: Engine, application: Engine
) -> None:
    with owner.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE audit_events_2050_01 PARTITION OF audit_events"
                " FOR VALUES FROM ('2050-01-01 00:00+00') TO ('2050-02-01 00:00+00')"
            )
        )
    append(application, 2, NOW.replace(year=2050, month=1))

    with application.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM audit_events_2050_01")).scalar_one()
        with pytest.raises(ProgrammingError, match="denied"):
            connection.execute(text("DELETE FROM audit_events_2050_01"))
    assert rows == 2


def test_rest_of_the_product_works_as_the_application(
    databases: DatabaseSettings, settings: Settings, start_asgi: Callable[..., AsgiClient]
) -> None:
    client = start_asgi(settings=replace(settings, database=databases))
    services = services_of(client.server.app)
    key, _ = services.access.create_key("librechat", trusted=True)
    served = Served(client, key)
    served.budget("tokens", "day", 1_000)
    served.budget("requests", "minute", 10)

    statuses = [served.ask().status for _ in range(2)]

    assert statuses == [200, 200]
    assert served.settled("tokens", "day") > 0
    wait_until(lambda: [it["id"] for it in services.people.people()] == ["ana"])
    assert services.access.revoke_key("librechat").revoked_at is not None


def test_retention_as_the_application_is_refused(
    databases: DatabaseSettings, application: Engine
) -> None:
    with pytest.raises(NotOwnerError):
        AuditRetention(application, databases.url, KEYS, ZONE).run(NOW, 30)


def test_role_that_is_not_there_is_named(owner: Engine) -> None:
    url = owner.url.set(username="nobody-of-that-name").render_as_string()

    with owner.begin() as connection, pytest.raises(UnknownRoleError, match="nobody-of-that-name"):
        grant(connection, url)


def test_migration_for_a_role_that_is_not_there_says_so(
    databases: DatabaseSettings, settings: Settings
) -> None:
    owner = make_url(databases.migration_url)
    environment = environment_of(settings, free_port()) | {
        "DATABASE_URL": owner.set(username="stranger").render_as_string(hide_password=False),
        "MIGRATION_DATABASE_URL": databases.migration_url,
        "LOCALE": "en",
    }

    done = run_solaris(environment, "db", "upgrade")

    assert done.returncode == 1
    assert "DATABASE_URL names the role stranger" in done.stderr
    assert "Traceback" not in done.stderr


def test_retain_command_as_the_application_says_who_may(
    databases: DatabaseSettings, settings: Settings
) -> None:
    environment = environment_of(settings, free_port()) | {
        "DATABASE_URL": databases.url,
        "LOCALE": "en",
    }

    done = run_solaris(environment, "audit", "retain")

    assert done.returncode == 1
    assert "set MIGRATION_DATABASE_URL" in done.stderr
