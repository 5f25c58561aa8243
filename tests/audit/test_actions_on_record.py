"""What administrators do goes on record: who changed what, from what, to what."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from app.config.settings import Settings
from tests.audit.trail import recorded
from tests.servers import environment_of, run_solaris

BUDGET = "--scope user --subject ana --metric tokens --period month"
Do = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def do(settings: Settings) -> Do:
    """Run commands: ``do("keys create a")``."""
    environment = environment_of(settings, 5000)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        done = run_solaris(environment, *command.split())
        assert done.returncode == 0, done.stderr
        return done

    return run


def last(settings: Settings, count: int = 1) -> dict[str, Any]:
    return recorded(settings.database.url, count)[-1]


def test_key_that_is_made_is_on_record_without_the_key(do: Do, settings: Settings) -> None:
    key = do("keys create notebook --user ana --team vendas --trusted").stdout.strip()

    event = last(settings)
    assert (event["kind"], event["key"], event["person"], event["team"]) == (
        "key_created",
        "notebook",
        "ana",
        "vendas",
    )
    assert event["detail"]["by"] == f"cli:{getpass.getuser()}"
    assert event["detail"]["after"]["trusted"] is True
    assert key not in repr(event)


def test_key_that_is_revoked_is_on_record(do: Do, settings: Settings) -> None:
    do("keys create notebook")
    do("keys revoke notebook")

    event = last(settings, 2)
    assert (event["kind"], event["key"]) == ("key_revoked", "notebook")
    assert event["detail"]["after"]["revoked_at"]


def test_budget_that_is_changed_is_on_record_as_it_was_and_is(do: Do, settings: Settings) -> None:
    do(f"budgets set {BUDGET} --limit 1000")
    do(f"budgets set {BUDGET} --limit 2000 --shadow")

    event = last(settings, 2)
    assert (event["kind"], event["person"]) == ("budget_set", "ana")
    assert event["detail"]["before"] == {"limit": 1000, "mode": "enforce"}
    assert event["detail"]["after"] == {"limit": 2000, "mode": "shadow"}
    assert event["detail"]["scope"] == "user"


def test_budget_that_is_taken_away_is_on_record_as_it_was(do: Do, settings: Settings) -> None:
    do(f"budgets set {BUDGET} --limit 1000")
    do(f"budgets remove {BUDGET}")

    event = last(settings, 2)
    assert event["kind"] == "budget_removed"
    assert event["detail"]["before"] == {"limit": 1000, "mode": "enforce"}
    assert "after" not in event["detail"]


def test_person_who_is_moved_is_on_record_without_name_and_address(
    do: Do, settings: Settings
) -> None:
    do("users set ana --team vendas --name Canario --email canario@example.com")
    do("users set ana --team ti")

    first, event = recorded(settings.database.url, 2)
    assert (first["kind"], event["kind"], event["person"]) == (
        "person_created",
        "person_changed",
        "ana",
    )
    assert first["detail"]["changed"] == ["email", "name", "team"]
    assert event["detail"]["before"], event["detail"]["after"] == (
        {"team": "vendas"},
        {"team": "ti"},
    )
    assert "anario" not in repr([first, event])


def test_team_that_is_named_is_on_record(do: Do, settings: Settings) -> None:
    do("teams set vendas --name Vendas")

    event = last(settings)
    assert (event["kind"], event["team"]) == ("team_created", "vendas")
    assert event["detail"]["after"] == {"name": "Vendas"}
