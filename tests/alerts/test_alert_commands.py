"""`solaris alerts list|ack|rules`, what else goes on record for alerts, and alerts of a server."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, create_engine, text

from app.alerting.rules import RULES
from app.cli import cli
from app.config.catalog import HealthPolicy
from app.config.settings import Settings
from app.embedded.network import free_port
from app.services.health_service import HealthService
from tests.alerts.occurrences import MODEL, Watch
from tests.audit.trail import recorded
from tests.fakes.clock import FakeClock
from tests.fakes.litellm import FakeLiteLLM, status
from tests.ledger.served import StartServed
from tests.servers import environment_of
from tests.waiting import wait_until

Solaris = Callable[..., Result]


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.fixture
def watch(engine: Engine) -> Watch:
    return Watch(engine, FakeClock())


@pytest.fixture
def solaris(settings: Settings) -> Iterator[Solaris]:
    """Run a command in this process: ``solaris("alerts", "list", LOCALE="en")``."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    environment = environment_of(settings, free_port()) | {"LOCALE": "pt_BR"}

    def run(*arguments: str, **variables: str) -> Result:
        return CliRunner().invoke(cli, arguments, env=environment | variables)

    yield run
    # A command makes the log its own.
    root.handlers[:] = handlers
    root.setLevel(level)


def test_list_shows_what_lasts(solaris: Solaris, watch: Watch) -> None:
    watch.fail(11)
    watch.look()

    row, *others = json.loads(solaris("alerts", "list", "--json").stdout)
    table = solaris("alerts", "list").stdout

    assert others == []
    assert (row["rule"], row["subject"], row["state"]) == ("model_errors", MODEL, "opened")
    assert (row["severity"], row["total"], row["messages"]) == ("warning", 11, 1)
    assert row["id"] in table
    assert "gravidade" in table


def test_list_shows_what_is_over_when_asked(solaris: Solaris, watch: Watch) -> None:
    watch.fail(11)
    watch.look()
    watch.look_after(3600)

    assert json.loads(solaris("alerts", "list", "--json").stdout) == []
    assert solaris("alerts", "list").stderr == "nenhum alerta em curso\n"
    (row,) = json.loads(solaris("alerts", "list", "--all", "--json").stdout)
    assert row["state"] == "resolved"


def test_acknowledging_is_kept_and_on_record(
    solaris: Solaris, watch: Watch, settings: Settings
) -> None:
    watch.fail(11)
    watch.look()
    (alert,) = watch.service.listed()

    done = solaris("alerts", "ack", alert.id, LOCALE="en")

    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"alert {alert.id} acknowledged: model_errors {MODEL}")
    (after,) = watch.service.listed()
    assert after.state == "acknowledged"
    assert str(after.acknowledged_by).startswith("cli")
    event = recorded(settings.database.url, 12)[-1]
    assert event["kind"] == "alert_acknowledged"
    assert event["detail"]["alert"] == alert.id


def test_acknowledging_what_is_not_there_says_so(solaris: Solaris) -> None:
    done = solaris("alerts", "ack", "nothing")

    assert done.exit_code == 1
    assert "nothing" in done.stderr
    assert "solaris alerts list" in done.stderr


def test_rules_lists_every_rule(solaris: Solaris) -> None:
    rows = json.loads(solaris("alerts", "rules", "--json").stdout)

    assert [it["rule"] for it in rows] == list(RULES)
    errors = rows[0]
    assert (errors["more_than"], errors["within_s"]) == (10, 300)
    assert "security_incident" in solaris("alerts", "rules").stdout


def test_verification_that_finds_something_is_told(solaris: Solaris, watch: Watch) -> None:
    assert solaris("keys", "create", "one").exit_code == 0
    assert solaris("audit", "verify").exit_code == 0
    assert watch.look() == []
    with watch.engine.begin() as connection:
        connection.execute(text("UPDATE audit_events SET status = 418 WHERE seq = 1"))

    assert solaris("audit", "verify").exit_code == 1

    told = {it.rule: it.facts for it in watch.look()}
    assert told["audit_verification"] == {"findings": 1, "first_seq": 1}
    assert told["security_incident"]["what"] == "audit_verified"


def test_health_tells_when_a_breaker_opens_and_closes_and_only_then() -> None:
    told: list[tuple[Any, ...]] = []
    policy = HealthPolicy(check_interval_s=60, unhealthy_threshold=3, cooldown_s=10)
    health = HealthService(policy, FakeClock(), listener=lambda *facts: told.append(facts))

    for _ in range(5):
        health.record_failure(MODEL, "upstream_error")
    # It stays open.
    health.record_failure(MODEL, "upstream_error", is_trial=True)
    for _ in range(2):
        health.record_alive(MODEL)

    assert told == [
        ("breaker_opened", MODEL, "upstream_error"),
        ("breaker_closed", MODEL, None),
    ]


def test_server_tells_of_a_model_that_is_out_of_use(
    serve: StartServed, upstream: FakeLiteLLM, engine: Engine
) -> None:
    upstream.default = status(500, {"error": {"message": "odd", "type": "x", "code": "500"}})
    served = serve()
    for _ in range(6):
        served.ask()

    def told() -> set[str]:
        with engine.connect() as connection:
            query = "SELECT body ->> 'rule' FROM alert_messages WHERE body ->> 'kind' = 'opened'"
            return set(connection.execute(text(query)).scalars())

    wait_until(lambda: "breaker" in told(), 60)
