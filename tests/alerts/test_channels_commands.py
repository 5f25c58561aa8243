"""`solaris alerts …` for channels, and a server that empties the outbox by itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, create_engine

from app.alerting.outbox import Outbox
from app.cli import cli
from app.config.settings import Settings, load_settings
from app.embedded.network import free_port
from app.services.alerts.configured import configured_channels
from app.utils.clock import SystemClock
from tests.alerts.receivers import (
    Answer,
    HttpReceiver,
    MailReceiver,
    running_http,
    running_mail,
)
from tests.alerts.samples import PORTUGUESE, message
from tests.audit.trail import recorded
from tests.servers import ProxyServer, environment_of, run_solaris
from tests.waiting import wait_until

Solaris = Callable[..., CompletedProcess[str]]
SECRET = "webhook-secret-0123456789"


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    with running_http() as receiver:
        yield receiver


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    with running_mail() as receiver:
        yield receiver


@pytest.fixture
def environment(settings: Settings, http: HttpReceiver, mail: MailReceiver) -> dict[str, str]:
    return environment_of(settings, free_port()) | {
        "LOCALE": "pt_BR",
        "ALERT_ALLOW_PRIVATE": "true",
        "SLACK_WEBHOOK_URL": f"{http.url}/slack",
        "ALERT_WEBHOOK_URL": f"{http.url}/hook",
        "ALERT_WEBHOOK_SECRET": SECRET,
        "ALERT_EMAIL": "admin@empresa.test",
        "SMTP_URL": f"smtp://127.0.0.1:{mail.port}",
        "DASHBOARD_URL": "https://ia.empresa.test/admin/",
    }


@pytest.fixture
def same_log() -> Iterator[None]:
    """Leave the log as it was: a command makes it its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def solaris(environment: dict[str, str], same_log: None) -> Solaris:
    """Run a command in this process: ``solaris("alerts", "test", LOCALE="en")``."""

    def run(*arguments: str, **variables: str) -> CompletedProcess[str]:
        result = CliRunner().invoke(cli, arguments, env=environment | variables)
        stdout = result.stdout_bytes.decode()
        return CompletedProcess(arguments, result.exit_code, stdout, result.stderr)

    return run


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


def outbox_of(environment: dict[str, str], engine: Engine) -> Outbox:
    """Return the outbox as a process of ``environment`` has it."""
    settings = load_settings(environment)
    clock, key = SystemClock(), settings.security.secret_key
    channels = configured_channels(settings.alerts, PORTUGUESE, clock, key)
    return Outbox(engine, [it.target for it in channels], clock)


def rows_of(done: CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_test_sends_one_message_through_each_channel(
    solaris: Solaris, http: HttpReceiver, mail: MailReceiver
) -> None:
    done = solaris("alerts", "test")

    assert done.returncode == 0, done.stderr
    assert sorted(it.path for it in http.received) == ["/hook", "/slack"]
    assert mail.messages[0]["Subject"] == "[IA SOLARIS] Teste dos alertas"
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines[1:]] == ["slack", "email", "webhook"]
    assert {line[2] for line in lines[1:]} == {"sim"}


def test_test_says_which_channel_failed_and_why(
    solaris: Solaris, http: HttpReceiver, mail: MailReceiver
) -> None:
    http.default, mail.refusals["RCPT"] = Answer(500), "550 no such person"

    done = solaris("alerts", "test", "--json")

    assert done.returncode == 1
    errors = {name: row["error"] for name, row in rows_of(done).items()}
    assert errors == {"slack": "http_500", "email": "smtp_550", "webhook": "http_500"}
    assert not any(row["ok"] for row in rows_of(done).values())


def test_test_without_a_channel_says_so(solaris: Solaris) -> None:
    nothing = dict.fromkeys(("SLACK_WEBHOOK_URL", "ALERT_WEBHOOK_URL", "ALERT_EMAIL"), "")

    done = solaris("alerts", "test", LOCALE="en", **nothing)

    assert done.returncode == 1
    assert "no channel is configured" in done.stderr


def test_channels_show_what_was_switched_off_and_enable_switches_it_on(
    solaris: Solaris, environment: dict[str, str], engine: Engine, clean_database: str
) -> None:
    outbox = outbox_of(environment, engine)
    outbox.disable(outbox.targets[0], "no_service")

    off = rows_of(solaris("alerts", "channels", "--json"))["slack"]
    tested = solaris("alerts", "test")
    enabled = solaris("alerts", "enable", "slack")
    on = rows_of(solaris("alerts", "channels", "--json"))["slack"]

    assert (off["enabled"], off["reason"], on["enabled"]) == (False, "no_service", True)
    assert "desligados" in tested.stderr
    assert enabled.stdout == "canal slack ligado; o que espera por ele sai agora\n"
    (event,) = [it for it in recorded(clean_database) if it["kind"] == "alert_channel_enabled"]
    assert event["detail"]["channel"] == "slack"


def test_channels_show_no_secret(solaris: Solaris) -> None:
    done = solaris("alerts", "channels")

    assert "127.0.0.1" in done.stdout
    assert "/slack" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_enable_of_an_unknown_channel_names_those_there_are(solaris: Solaris) -> None:
    done = solaris("alerts", "enable", "pager")

    assert done.returncode == 1
    assert "slack, email, webhook" in done.stderr


def test_enable_of_a_channel_that_is_on_says_so(solaris: Solaris) -> None:
    assert solaris("alerts", "enable", "email").stdout == "o canal email já estava ligado\n"


def test_address_inside_stops_the_start_and_names_the_variable(
    environment: dict[str, str],
) -> None:
    done = run_solaris(environment | {"ALERT_ALLOW_PRIVATE": "false"}, "alerts", "channels")

    assert done.returncode == 2
    for variable in ("SLACK_WEBHOOK_URL", "ALERT_WEBHOOK_URL", "SMTP_URL"):
        assert f"- {variable} aponta para um endereço interno" in done.stderr
    assert "/slack" not in done.stderr


def test_server_sends_what_is_in_the_outbox_once_whichever_worker_is_first(
    start_proxy: Callable[..., ProxyServer],
    environment: dict[str, str],
    engine: Engine,
    http: HttpReceiver,
    mail: MailReceiver,
) -> None:
    variables = {name: it for name, it in environment.items() if name not in ("PORT", "WORKERS")}
    proxy = start_proxy(workers=2, env=variables)
    outbox = outbox_of(environment, engine)
    connection: Any = engine.raw_connection()
    with connection.cursor() as cursor:
        outbox.add(cursor, [message(f"m-{number}") for number in range(5)])
    connection.commit()
    connection.close()

    wait_until(lambda: not any(it.waiting for it in outbox.standings()), 30)
    proxy.stop()

    paths = [it.path for it in http.received]
    assert (paths.count("/slack"), paths.count("/hook"), len(mail.letters)) == (5, 5, 5)
    sent = [json.loads(line) for line in proxy.log.splitlines() if '"alert_sent"' in line]
    assert len(sent) == 15
    assert "/slack" not in proxy.log
