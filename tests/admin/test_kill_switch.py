"""Kill switches over HTTP and from the command line: thrown, listed, lifted, on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import cli
from app.config.settings import Settings
from app.embedded.network import free_port
from tests.admin.conftest import Ask
from tests.audit.trail import recorded
from tests.servers import environment_of

BODY = {"scope": "user", "subject": "ana", "reason": "computador roubado"}


def test_switch_is_thrown_listed_and_lifted(ask: Ask) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    thrown = ask("POST", "/killswitch", json={**BODY, "expires_at": until})
    switch = thrown.get_json()

    listed = ask("GET", "/killswitch").get_json()["data"]
    lifted = ask("DELETE", f"/killswitch/{switch['id']}")

    assert thrown.status_code == 201
    assert listed == [switch]
    assert datetime.fromisoformat(switch["expires_at"]) == datetime.fromisoformat(until)
    assert lifted.get_json()["lifted_by"] == "key:ADMIN_API_KEY"
    assert ask("GET", "/killswitch").get_json()["data"] == []
    assert len(ask("GET", "/killswitch", past="true").get_json()["data"]) == 1
    assert ask("DELETE", f"/killswitch/{switch['id']}").status_code == 404


def test_switch_thrown_again_takes_the_place_of_the_first(ask: Ask) -> None:
    first = ask("POST", "/killswitch", json=BODY).get_json()

    again = ask("POST", "/killswitch", json={**BODY, "reason": "ainda"}).get_json()

    assert ask("GET", "/killswitch").get_json()["data"] == [again]
    past = ask("GET", "/killswitch", past="true").get_json()["data"]
    assert [it["id"] for it in past] == [again["id"], first["id"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scope": "key"}, "scope"),
        ({"scope": "all"}, "subject"),
        ({"subject": ""}, "subject"),
        ({"scope": "model", "subject": "gpt-9"}, "subject"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 121}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ],
    ids=["scope", "all", "nobody", "model", "no-reason", "long", "lines", "past"],
)
def test_switch_that_cannot_be_thrown_says_why(ask: Ask, body: dict[str, Any], field: str) -> None:
    answer = ask("POST", "/killswitch", json={**BODY, **body})

    assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, field)
    assert ask("GET", "/killswitch", past="true").get_json()["data"] == []


def test_throwing_and_lifting_are_on_record_without_the_reason(
    ask: Ask, settings: Settings
) -> None:
    switch = ask("POST", "/killswitch", json=BODY).get_json()
    ask("DELETE", f"/killswitch/{switch['id']}")

    thrown, lifted = recorded(settings.database.url, 2)[-2:]

    assert (thrown["kind"], lifted["kind"]) == ("kill_switch_thrown", "kill_switch_lifted")
    assert (thrown["person"], thrown["detail"]["by"]) == ("ana", "key:ADMIN_API_KEY")
    assert [thrown["detail"][it]["thrown"] for it in ("before", "after")] == [False, True]
    assert [lifted["detail"][it]["thrown"] for it in ("before", "after")] == [True, False]
    assert "roubado" not in repr((thrown, lifted))


def solaris(settings: Settings, *arguments: str) -> Result:
    environment = environment_of(settings, free_port())
    return CliRunner().invoke(cli, ["killswitch", *arguments], env=environment)


def test_switch_is_thrown_listed_and_lifted_from_the_command_line(settings: Settings) -> None:
    thrown = solaris(
        settings, "throw", "--scope", "team", "--subject", "vendas", "--reason", "auditoria"
    )
    (row,) = json.loads(solaris(settings, "list", "--json").stdout)

    lifted = solaris(settings, "lift", str(row["id"]))

    assert (thrown.exit_code, lifted.exit_code) == (0, 0)
    assert (row["scope"], row["subject"], row["expires_at"]) == ("team", "vendas", None)
    assert json.loads(solaris(settings, "list", "--json").stdout) == []
    assert solaris(settings, "lift", str(row["id"])).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scope", "all", "--subject", "ana", "--reason", "x"], "--subject"),
        (["--scope", "model", "--subject", "gpt-9", "--reason", "x"], "catálogo"),
        (["--scope", "all", "--reason", " "], "motivo"),
    ],
    ids=["all", "model", "reason"],
)
def test_command_that_cannot_be_meant_is_refused(
    settings: Settings, arguments: list[str], said: str
) -> None:
    done = solaris(settings, "throw", *arguments)

    assert done.exit_code == 2
    assert said in done.stderr
