"""API keys with a real Postgres: made, listed, revoked, remembered, and known while it is away."""

from __future__ import annotations

import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_migrate import upgrade
from sqlalchemy import create_engine, event, text

from app import create_app
from app.config.settings import DatabaseSettings, Settings, load_settings
from app.embedded.engines import EmbeddedPostgres
from app.extensions import db, services_of
from app.services.access_service import AccessService
from app.services.key_cache import FRESH_S
from app.services.key_format import generate_key
from app.services.key_store import KeyAmbiguousError, KeyNameTakenError, KeyNotFoundError
from app.serving.flask_app import SolarisFlask
from tests.asgi_client import AsgiClient
from tests.servers import ProxyServer, run_solaris

REVOKED_WITHIN_S = 5.0
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "oi"}]}


@pytest.fixture
def access(app: SolarisFlask) -> AccessService:
    return services_of(app).access


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# --- create, list, revoke ------------------------------------------------------------------------


def test_key_made_is_stored_as_a_hash_only(access: AccessService, clean_database: str) -> None:
    key, record = access.create_key("librechat", user_id="ana")

    engine = create_engine(clean_database)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT api_keys::text FROM api_keys")).scalar_one()
    engine.dispose()
    assert record.prefix == key[:17]
    assert record.prefix in row
    assert key[17:] not in row


def test_key_made_keeps_what_it_was_made_with(access: AccessService) -> None:
    expires_at = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    options: dict[str, Any] = {
        "user_id": "ana",
        "team_id": "vendas",
        "trusted": True,
        "allowed_models": ["gpt-4", "gpt-4o"],
        "role": "auditor",
        "expires_at": expires_at,
    }

    access.create_key("librechat", **options)

    record = access.list_keys()[0]
    options["allowed_models"] = frozenset(options["allowed_models"])
    assert {name: getattr(record, name) for name in options} == options
    assert record.revoked_at is None


def test_key_with_the_name_of_a_live_one_is_refused(access: AccessService) -> None:
    access.create_key("librechat")

    with pytest.raises(KeyNameTakenError):
        access.create_key("librechat")


def test_key_with_the_name_of_a_revoked_one_is_made(access: AccessService) -> None:
    access.create_key("librechat")
    access.revoke_key("librechat")

    access.create_key("librechat")

    assert len(access.list_keys(include_revoked=True)) == 2


@pytest.mark.parametrize("attribute", ["name", "prefix", "id"])
def test_key_is_revoked_by_any_of_its_names(access: AccessService, attribute: str) -> None:
    _, record = access.create_key("librechat")
    access.create_key("other")

    access.revoke_key(str(getattr(record, attribute)))

    assert [left.name for left in access.list_keys()] == ["other"]


@pytest.mark.parametrize("reference", ["nobody", "", "7", str(2**70), "sk-solaris-"])
def test_key_that_is_not_there_cannot_be_revoked(access: AccessService, reference: str) -> None:
    access.create_key("librechat")

    with pytest.raises(KeyNotFoundError):
        access.revoke_key(reference)


def test_key_whose_name_is_anothers_id_is_not_guessed_at(access: AccessService) -> None:
    _, record = access.create_key("librechat")
    access.create_key(str(record.id))

    with pytest.raises(KeyAmbiguousError):
        access.revoke_key(str(record.id))


# --- use -----------------------------------------------------------------------------------------


def test_key_that_expires_while_it_is_known_is_refused(
    client: FlaskClient, make_key: Callable[..., str]
) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=1)
    key = make_key(expires_at=expires_at)
    before = client.get("/v1/models", headers=bearer(key)).status_code
    time.sleep(max(0.0, (expires_at - datetime.now(UTC)).total_seconds()) + 0.01)

    after = client.get("/v1/models", headers=bearer(key)).status_code

    assert (before, after) == (200, 401)


def test_calls_with_a_known_key_ask_the_database_nothing(
    app: SolarisFlask, client: FlaskClient, make_key: Callable[..., str]
) -> None:
    key = make_key()
    client.get("/v1/models", headers=bearer(key))
    statements: list[str] = []
    with app.app_context():
        event.listen(
            db.engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, *_rest: statements.append(statement),
        )

    statuses = {
        client.post("/v1/chat/completions", json=CHAT, headers=bearer(key)).status_code
        for _ in range(50)
    }

    # Without a server, as here, nobody polls kill switches: calls ask for them once a second.
    others = [it for it in statements if "kill_switches" not in it]
    assert (statuses, others) == ({200}, [])


def test_key_revoked_on_the_command_line_is_refused_by_every_worker_within_five_seconds(
    start_proxy: Callable[..., ProxyServer], make_key: Callable[..., str]
) -> None:
    key = make_key(name="gone")
    proxy = start_proxy(workers=2, drain_grace_s=4)
    before = statuses_of(proxy, key)

    run_solaris(proxy.environment, "keys", "revoke", "gone")

    # It holds for all from then on; until then it may differ from worker to worker.
    deadline_s = time.monotonic() + REVOKED_WITHIN_S
    while (after := statuses_of(proxy, key)) != {401} and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert (before, after) == ({200}, {401})


def statuses_of(proxy: ProxyServer, key: str) -> set[int]:
    """Return what a key gets on a dozen new connections, which reach both workers."""
    return {status_of(f"{proxy.url}/v1/models", key) for _ in range(12)}


def status_of(url: str, key: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=bearer(key))) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


# --- Postgres away -------------------------------------------------------------------------------


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A place for a Postgres of a test's own, which its unprivileged user can reach."""
    with tempfile.TemporaryDirectory(prefix="solaris-own-pg-") as folder:
        yield Path(folder) / "data"


@pytest.fixture
def own_postgres(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir)
    yield server
    server.stop()


@pytest.fixture
def own_settings(own_postgres: EmbeddedPostgres, settings: Settings) -> Settings:
    """Settings for that Postgres, with every migration applied."""
    variables = {"ENVIRONMENT": "development", "DATABASE_URL": own_postgres.url}
    url = load_settings(variables).database.url
    own = replace(settings, database=DatabaseSettings(url, url))
    app = create_app(own)
    with app.app_context():
        upgrade()
        db.engine.dispose()
    return own


def test_postgres_away_lets_known_keys_go_on_and_says_so_to_others(
    own_settings: Settings,
    own_postgres: EmbeddedPostgres,
    data_dir: Path,
    start_asgi: Callable[..., AsgiClient],
) -> None:
    client = start_asgi(settings=own_settings)
    key, _ = services_of(client.server.app).access.create_key("known")
    known, unknown = bearer(key).items(), bearer(generate_key()).items()
    statuses = [client.call("GET", "/v1/models", known).status]

    own_postgres.stop()
    time.sleep(FRESH_S + 0.2)  # what is known is no longer fresh
    statuses.append(client.call("GET", "/v1/models", known).status)
    refused = client.call("GET", "/v1/models", unknown)
    health = [client.call("GET", path).status for path in ("/livez", "/readyz")]
    back = EmbeddedPostgres(data_dir)
    time.sleep(1.1)  # /readyz remembers for a second
    statuses.append(client.call("GET", "/v1/models", known).status)
    after = [client.call("GET", "/v1/models", unknown).status, client.call("GET", "/readyz").status]
    back.stop()

    assert statuses == [200, 200, 200]
    assert refused.status == 503
    assert b'"database_unavailable"' in refused.body
    assert refused.header("Retry-After") == "5"
    assert health == [200, 503]
    assert after == [401, 200]
