"""`solaris doctor`: what only the product itself can tell, and what the script finds beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from app.cli import cli
from app.config.catalog import load_catalog
from app.config.settings import AuditSettings, LiteLLMSettings, Settings
from app.embedded.network import free_port
from app.services.retired_models import Retirement, retirements
from tests.diagnosis.conftest import every_model
from tests.fakes.litellm import FakeLiteLLM
from tests.servers import ProxyServer, environment_of

TODAY = date(2026, 11, 24)


def doctor(settings: Settings, *options: str, **env: str) -> Result:
    variables = environment_of(settings, free_port()) | {"PATH": "/usr/bin:/bin", **env}
    return CliRunner().invoke(cli, ["doctor", "--litellm-dir", "/nowhere", *options], env=variables)


def found(settings: Settings, **env: str) -> dict[str, dict[str, Any]]:
    checks = json.loads(doctor(settings, "--json", **env).stdout)["checks"]
    return {it["check"]: it for it in checks}


@pytest.fixture
def knowing(upstream: FakeLiteLLM) -> FakeLiteLLM:
    """A LiteLLM whose price list has every target of the catalogue, none of them retired."""
    catalog = load_catalog(LiteLLMSettings().config_path)
    upstream.models = every_model()
    upstream.cost_map = {it.target.partition("/")[2]: {} for it in catalog.models.values()}
    return upstream


def test_all_well_but_nobody_to_alert_ends_with_1(
    settings: Settings, knowing: FakeLiteLLM, start_proxy: Callable[..., ProxyServer]
) -> None:
    proxy = start_proxy(workers=1)

    done = doctor(settings, PROXY_URL=proxy.url)

    assert done.exit_code == 1
    assert "✔ migrations: as tabelas estão em dia" in done.stdout
    assert "✔ retired_models: todos os destinos do catálogo ainda existem" in done.stdout
    assert "! alert_targets: nenhum destino" in done.stdout
    # What the script finds.
    assert "✔ webhook: a assinatura confere" in done.stdout
    assert done.stderr == "falhas: 0, avisos: 1\n"
    assert knowing.calls == []


def test_targets_that_are_gone_are_named(settings: Settings, knowing: FakeLiteLLM) -> None:
    knowing.cost_map["gpt-4o"] = {"deprecation_date": "2026-01-31"}

    check = found(settings)["retired_models"]

    assert check["state"] == "warning"
    assert "gpt-4o: openai/gpt-4o foi retirado pelo provedor em 2026-01-31" in check["detail"]


def test_list_that_is_installed_comes_before_the_one_that_runs(
    settings: Settings, knowing: FakeLiteLLM, tmp_path: Path
) -> None:
    place = tmp_path / "lib/python3.11/site-packages/litellm"
    place.mkdir(parents=True)
    listed: dict[str, dict[str, str]] = {it: {} for it in knowing.cost_map if it != "gpt-4o"}
    (place / "model_prices_and_context_window_backup.json").write_text(json.dumps(listed))

    done = doctor(settings, "--litellm-dir", str(tmp_path))

    assert "! retired_models: gpt-4o: o LiteLLM não conhece openai/gpt-4o" in done.stdout


@pytest.mark.parametrize(
    ("entry", "on"),
    [
        ({"deprecation_date": "2026-11-24"}, date(2026, 11, 24)),
        ({"deprecation_date": "2027-02-22"}, date(2027, 2, 22)),
        (None, None),
    ],
    ids=["today", "in-90-days", "unknown"],
)
def test_retirement_is_told_by_litellms_own_list(
    entry: dict[str, str] | None, on: date | None
) -> None:
    model = load_catalog(LiteLLMSettings().config_path).models["gpt-4o"]
    cost_map = {"gpt-4o": entry} if entry is not None else {"other": {}}

    assert retirements([model], cost_map, TODAY) == [Retirement("gpt-4o", model.target, on)]


@pytest.mark.parametrize(
    "entry",
    [{}, {"deprecation_date": "2027-02-23"}, {"deprecation_date": "date when it is deprecated"}],
    ids=["no-date", "later", "no-day"],
)
def test_model_that_stays_is_not_told(entry: dict[str, str]) -> None:
    model = load_catalog(LiteLLMSettings().config_path).models["gpt-4o"]

    assert retirements([model], {"openai/gpt-4o": entry}, TODAY) == []


def test_tables_of_another_version_are_a_failure(settings: Settings, knowing: FakeLiteLLM) -> None:
    engine = create_engine(settings.database.url)
    with engine.begin() as connection:
        there = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        check = found(settings)["migrations"]
    finally:
        with engine.begin() as connection:
            change = text("UPDATE alembic_version SET version_num = :it")
            connection.execute(change, {"it": there})
        engine.dispose()

    assert (check["state"], "solaris db upgrade" in check["detail"]) == ("failure", True)


def test_trail_that_another_key_signed_is_a_failure(
    settings: Settings, knowing: FakeLiteLLM
) -> None:
    variables = environment_of(settings, free_port())
    command = ["killswitch", "throw", "--scope", "all", "--reason", "x"]
    CliRunner().invoke(cli, command, env=variables)
    other = replace(settings, audit=AuditSettings(hmac_keys=("another-key-" + "x" * 32,)))

    states = [found(it)["audit_key"]["state"] for it in (settings, other)]

    assert states == ["ok", "failure"]


def test_proxy_and_litellm_away_end_with_2(settings: Settings, upstream: FakeLiteLLM) -> None:
    upstream.stop()

    done = doctor(settings, "--json", LOCALE="en")

    checks = {it["check"]: it for it in json.loads(done.stdout)["checks"]}
    assert (done.exit_code, json.loads(done.stdout)["verdict"]) == (2, "failure")
    assert (checks["proxy"]["state"], checks["litellm"]["state"]) == ("failure", "failure")
    assert checks["retired_models"]["state"] == "skipped"
    assert "does not answer" in checks["proxy"]["detail"]


def test_postgres_away_is_a_failure_without_its_address(
    settings: Settings, knowing: FakeLiteLLM
) -> None:
    url = "postgresql+psycopg2://solaris:hidden-canary@localhost:1/none"

    done = doctor(settings, DATABASE_URL=url)

    assert done.exit_code == 2
    assert "✘ database:" in done.stdout
    assert "hidden-canary" not in done.stdout + done.stderr
