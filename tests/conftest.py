"""Fixtures: a real Postgres, an application, a scriptable LiteLLM, and real gunicorn servers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_migrate import upgrade
from sqlalchemy import create_engine, make_url, text

from app import create_app
from app.asgi import AsgiServer
from app.config.settings import (
    BudgetSettings,
    DatabaseSettings,
    LiteLLMSettings,
    RedisSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
    load_settings,
)
from app.embedded.engines import EmbeddedPostgres, EmbeddedValkey
from app.extensions import db, services_of
from app.serving.flask_app import SolarisFlask
from tests.asgi_client import AsgiClient
from tests.fakes.litellm import FakeLiteLLM, completion
from tests.fakes.postgres import FragilePostgres
from tests.ledger.served import Served, StartServed
from tests.outages import HOLD_LIFETIME_S, KEY, USAGE, Load, Place, StartPlace
from tests.raw_http import RawClient
from tests.servers import ProxyServer, run_solaris

# Its assertions are part of tests, and should say as much.
pytest.register_assert_rewrite("tests.watched")

ADMIN_KEY = "sk-admin-for-the-tests-only"
MASTER_KEY = "sk-master-for-the-tests-only"
WEBHOOK_SECRET = "webhook-secret-for-the-tests-only"
SECRET_KEY = "secret-key-for-the-tests-only"


FAIL_ON_SKIP = "SOLARIS_FAIL_ON_SKIP"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, where everything is installed, a skipped test is a failed one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(FAIL_ON_SKIP) and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="solaris-pg-") as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def database_url(postgres: EmbeddedPostgres) -> str:
    """A database with every migration applied."""
    url = load_settings({"ENVIRONMENT": "development", "DATABASE_URL": postgres.url}).database.url
    app = create_app(Settings(database=DatabaseSettings(url, url)))
    with app.app_context():
        upgrade()
    return url


@pytest.fixture(scope="session")
def lasting_database_url(database_url: str) -> str:
    """Another one, for proxies that run on beside the tests of other files: what they do by
    themselves must not be done to those."""
    return another_database(database_url, "lasting")


def another_database(database_url: str, name: str) -> str:
    """Make a database beside that one, with every migration applied; return its URL."""
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    url = make_url(database_url).set(database=name).render_as_string(hide_password=False)
    with create_app(Settings(database=DatabaseSettings(url, url))).app_context():
        upgrade()
    return url


@pytest.fixture
def clean_database(database_url: str) -> Iterator[str]:
    yield database_url
    empty(database_url)


def empty(database_url: str) -> None:
    """Take every row out of the tables."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "TRUNCATE alert_channels, alert_counts, alert_deliveries, alert_looks,"
                " alert_messages, alert_signals, alerts,"
                " api_keys, audit_checkpoints, audit_contents, audit_drops, audit_events,"
                " audit_names, closed_months, closed_usage, legal_holds, usage_days, usage_months,"
                " budget_lines, budget_raises, budgets, calls_under_way, holds, kill_switches,"
                " litellm_events, page_sessions, raise_requests,"
                " reconciliations, sign_in_failures, sign_in_links, teams, trail_verifications,"
                " users"
                " RESTART IDENTITY CASCADE"
            )
        )
    engine.dispose()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis for the whole session; who uses it empties it first."""
    with tempfile.TemporaryDirectory(prefix="solaris-valkey-") as folder:
        server = EmbeddedValkey(Path(folder) / "data")
        yield server.url
        server.stop()


@pytest.fixture
def upstream() -> Iterator[FakeLiteLLM]:
    fake = FakeLiteLLM().start()
    yield fake
    fake.stop()


@pytest.fixture
def settings(clean_database: str, upstream: FakeLiteLLM, tmp_path: Path) -> Settings:
    return Settings(
        server=ServerSettings(state_dir=tmp_path / "state"),
        database=DatabaseSettings(clean_database, clean_database),
        litellm=LiteLLMSettings(base_url=upstream.url, master_key=MASTER_KEY, timeout_s=30.0),
        security=SecuritySettings(
            secret_key=SECRET_KEY, admin_api_key=ADMIN_KEY, webhook_secrets=(WEBHOOK_SECRET,)
        ),
    )


@pytest.fixture
def app(settings: Settings) -> Iterator[SolarisFlask]:
    app = create_app(settings)
    yield app
    app.background_loop.run(services_of(app).close())
    app.background_loop.stop()
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app: SolarisFlask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def make_key(app: SolarisFlask) -> Callable[..., str]:
    """Make an API key and return it: ``make_key(user_id="ana", trusted=True)``."""
    numbers = iter(range(1_000_000))

    def make(**options: Any) -> str:
        name = options.pop("name", f"key-{next(numbers)}")
        key, _ = services_of(app).access.create_key(name, **options)
        return key

    return make


@pytest.fixture
def auth(make_key: Callable[..., str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_key()}"}


@pytest.fixture
def start_asgi(settings: Settings) -> Iterator[Callable[..., AsgiClient]]:
    """Serve an application over ASGI in this process: ``start_asgi(max_concurrent_requests=2)``.

    ``build`` may add to the application before it is served.
    """
    clients: list[AsgiClient] = []

    def start(
        build: Callable[[SolarisFlask], object] = lambda _app: None,
        settings: Settings = settings,
        **options: Any,
    ) -> AsgiClient:
        app = create_app(replace(settings, server=replace(settings.server, **options)))
        build(app)
        clients.append(AsgiClient(AsgiServer(app)).start())
        return clients[-1]

    yield start
    for client in clients:
        client.stop()
        with client.server.app.app_context():
            db.engine.dispose()


@pytest.fixture
def serve(
    start_asgi: Callable[..., AsgiClient], settings: Settings, make_key: Callable[..., str]
) -> StartServed:
    """Serve a proxy: ``serve(redis_url=…, key=…, quota_status=429)``; the rest is of budgets."""

    def start(*, redis_url: str | None = None, key: str | None = None, **budgets: Any) -> Served:
        chosen = replace(
            settings, budgets=BudgetSettings(**budgets), redis=RedisSettings(redis_url)
        )
        client = start_asgi(settings=chosen)
        return Served(client, key or make_key(trusted=True))

    return start


@pytest.fixture
def start_proxy(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., ProxyServer]]:
    """Start `solaris serve` as a process of its own: ``start_proxy(workers=2, drain_grace_s=5)``.

    ``env`` adds variables, which win.
    """
    servers: list[ProxyServer] = []

    def start(*, env: dict[str, str] | None = None, **options: Any) -> ProxyServer:
        server_settings = replace(settings.server, **options)
        server = ProxyServer(replace(settings, server=server_settings), tmp_path, env or {})
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def connect() -> Iterator[Callable[[ProxyServer], RawClient]]:
    """Open a socket to a proxy: ``connect(proxy)``."""
    clients: list[RawClient] = []

    def open_socket(proxy: ProxyServer) -> RawClient:
        clients.append(RawClient(proxy.port))
        return clients[-1]

    yield open_socket
    for client in clients:
        client.leave()


@pytest.fixture
def fragile() -> Iterator[FragilePostgres]:
    # Not in pytest's folder: another run of it closes that to the user who is Postgres.
    with tempfile.TemporaryDirectory() as folder:
        server = FragilePostgres(Path(folder) / "data")
        yield server
        server.end()


@pytest.fixture
def start_place(
    fragile: FragilePostgres,
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
) -> StartPlace:
    """Start it: ``start_place("lenient")``."""
    upstream.default = completion(usage=USAGE)
    url = fragile.url.replace("postgresql://", "postgresql+psycopg2://")

    def started(mode: str) -> Place:
        variables = {
            "DATABASE_URL": url,
            "BUDGET_MODE": mode,
            "HOLD_LIFETIME": str(HOLD_LIFETIME_S),
            "USER_CONCURRENCY": "0",
        }
        proxy = start_proxy(workers=2, env=variables)
        upgraded = run_solaris(proxy.environment, "db", "upgrade")
        assert upgraded.returncode == 0, upgraded.stderr
        created = run_solaris(proxy.environment, "keys", "create", KEY)
        return Place(fragile, proxy, Load(proxy.url, created.stdout.splitlines()[-1]), url)

    return started
