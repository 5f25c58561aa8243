"""A period once more: under other prices, under other budgets; nothing is changed by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine

from app.audit.calls import past_calls
from app.audit.event import AuditEvent
from app.audit.store import AuditStore
from app.config.catalog import Catalog, load_catalog
from app.config.settings import PROJECT_ROOT
from app.dialects.base import Usage
from app.ledger.rules import Budget
from app.services.replay import Replay, Replayed
from app.services.token_service import cost_of
from tests.audit.conftest import Ask
from tests.audit.events import NOW, event
from tests.audit.trails import ZONE, changed

CONFIG = PROJECT_ROOT / "database" / "litellm-config.yaml"
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
START, END = datetime(2026, 11, 1, 3, tzinfo=UTC), datetime(2026, 12, 1, 3, tzinfo=UTC)
ASKED = ("audit", "replay", "--from", "2026-11-01", "--to", "2026-11-30")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(CONFIG)


@pytest.fixture
def replay(engine: Engine, catalog: Catalog) -> Callable[..., Replayed]:
    """Replay November: ``replay(budgets=[…], prices=…)``."""

    def run(budgets: list[Budget] | None = None, prices: Catalog | None = None) -> Replayed:
        calls = past_calls(engine, START, END)
        return Replay(catalog, prices, budgets or [], ZONE).run(calls)

    return run


def call(number: int, **facts: Any) -> AuditEvent:
    """Of 1,000 tokens and 100 micro-USD, a minute after the one before."""
    known: dict[str, Any] = {
        "at": NOW + timedelta(minutes=number),
        "user": "ana",
        "usage": Usage(900, 100),
        "cost_micro_usd": 100,
    }
    return event(number, **(known | facts))


def budget(limit: int, **facts: Any) -> Budget:
    known = Budget(1, "user", "*", "tokens", "month", limit, "enforce")
    return replace(known, **facts)


def file_of(folder: Path, *entries: dict[str, Any]) -> str:
    path = folder / "budgets.yaml"
    path.write_text(yaml.safe_dump(list(entries)))
    return str(path)


def dearer(folder: Path) -> Path:
    """Write the shipped prices with gpt-4o at ten times its own."""
    document = yaml.safe_load(CONFIG.read_text())
    for entry in document["model_list"]:
        if entry["model_name"] == "gpt-4o":
            entry["model_info"] |= {
                "input_cost_per_token": "0.00005",
                "output_cost_per_token": "0.00015",
                "cache_read_input_token_cost": "0.00001",
            }
    path = folder / "prices.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_first_moment_without_room_is_named(
    store: AuditStore, replay: Callable[..., Replayed]
) -> None:
    sent = [call(number) for number in range(10)]
    store.append([*reversed(sent), *(call(number + 20, user="bia") for number in range(3))])

    found = replay([budget(4_500)])

    (stop,) = found.stops.values()
    assert (stop.subject, stop.first_at) == ("ana", sent[4].at)
    assert (stop.first_request_id, stop.refused_calls) == (sent[4].event_id, 6)
    assert (found.calls, found.refused_calls, found.refused_tokens) == (13, 6, 6_000)


def test_budget_that_is_met_exactly_stops_nobody(
    store: AuditStore, replay: Callable[..., Replayed]
) -> None:
    store.append([call(number) for number in range(10)])

    assert replay([budget(10_000)]).stops == {}


def test_smaller_call_after_a_refused_one_has_room(
    store: AuditStore, replay: Callable[..., Replayed]
) -> None:
    sizes = [900, 200, 100]
    store.append([call(number, usage=Usage(size, 0)) for number, size in enumerate(sizes)])

    (stop,) = replay([budget(1_000)]).stops.values()

    assert (stop.first_at, stop.refused_calls) == (NOW + timedelta(minutes=1), 1)


def test_period_begins_anew_where_the_company_is(
    store: AuditStore, replay: Callable[..., Replayed]
) -> None:
    midnight = datetime(2026, 11, 24, 3, tzinfo=UTC)
    seconds = [-3, -2, -1, 0, 1, 2]
    store.append(
        [call(number, at=midnight + timedelta(seconds=it)) for number, it in enumerate(seconds)]
    )

    (stop,) = replay([budget(2_000, period="day")]).stops.values()

    assert (stop.refused_calls, len(stop.periods)) == (2, 2)
    assert stop.first_at == midnight - timedelta(seconds=1)


def test_own_budget_stands_before_that_of_everybody(
    store: AuditStore, replay: Callable[..., Replayed]
) -> None:
    store.append([call(number, user=user) for number, user in enumerate(["ana", "bia"] * 3)])

    found = replay([budget(1_000), budget(9_000, id=2, subject="ana")])

    assert [(it.subject, it.refused_calls) for it in found.stops.values()] == [("bia", 2)]


@pytest.mark.parametrize(
    ("scope", "subject"),
    [("global", ""), ("team", "sales"), ("key", "librechat"), ("model", "gpt-4o"), ("team", "*")],
)
def test_every_scope_is_replayed(
    store: AuditStore, replay: Callable[..., Replayed], scope: str, subject: str
) -> None:
    store.append([call(number, user=f"u{number}") for number in range(4)])

    found = replay([budget(3, scope=scope, subject=subject, metric="requests")])

    (stop,) = found.stops.values()
    assert (stop.budget.scope, stop.refused_calls) == (scope, 1)


def test_group_of_models_is_budgeted_as_its_members(
    store: AuditStore, replay: Callable[..., Replayed], catalog: Catalog
) -> None:
    group = next(iter(catalog.groups.values()))
    store.append([call(number, model_used=it) for number, it in enumerate(group.members[:2])])

    found = replay([budget(1_500, scope="model", subject=group.name)])

    assert [it.subject for it in found.stops.values()] == [group.name]


def test_shadow_budget_is_told_of_and_refuses_nothing(
    store: AuditStore, replay: Callable[..., Replayed]
) -> None:
    store.append([call(number) for number in range(4)])

    found = replay([budget(2_000, mode="shadow")])

    (stop,) = found.stops.values()
    assert (stop.refused_calls, found.refused_calls) == (2, 0)


def test_prices_replay_what_each_call_would_have_cost(
    store: AuditStore, replay: Callable[..., Replayed], tmp_path: Path
) -> None:
    usage = Usage(900, 100, cached_input_tokens=300)
    store.append([call(1, usage=usage), call(2, model_used="claude-3-opus")])
    prices = load_catalog(dearer(tmp_path))

    found = replay(prices=prices)

    expected = cost_of(prices.models["gpt-4o"], usage)
    assert expected == 600 * 50 + 300 * 10 + 100 * 150
    assert found.models["gpt-4o"].replayed_micro_usd == expected
    assert (found.calls, found.cost_micro_usd) == (2, 200)


def test_call_without_a_price_costs_what_it_did(
    store: AuditStore, replay: Callable[..., Replayed], catalog: Catalog
) -> None:
    held = {"held": [8_000, 400]}
    store.append([call(1, model_used="retired"), call(2, usage=None, detail=held)])

    found = replay(prices=catalog)

    # Of the second a quarter of what was held was posted.
    assert (found.unpriced_calls, found.replayed_micro_usd, found.tokens) == (2, 200, 3_000)


def test_budget_of_money_is_judged_by_the_other_prices(
    store: AuditStore, replay: Callable[..., Replayed], catalog: Catalog
) -> None:
    store.append([call(number) for number in range(3)])
    each = cost_of(catalog.models["gpt-4o"], Usage(900, 100, cached_input_tokens=0))
    money = [budget(2 * each, metric="cost")]

    assert replay(money).stops == {}
    assert replay(money, catalog).refused_calls == 1


def test_what_was_not_billed_is_on_no_budget(
    store: AuditStore, replay: Callable[..., Replayed]
) -> None:
    store.append(
        [
            call(1, event="refusal", status=402),
            call(2, event="litellm_request_end"),
            call(3, usage=None, cost_micro_usd=0, status=502),
            call(4, cost_micro_usd=0, detail={"cache": True}),
            call(5, at=START - timedelta(seconds=1)),
            call(6, at=END),
        ]
    )

    found = replay([budget(0, scope="global", subject="", metric="requests")])

    assert (found.calls, found.stops) == (0, {})


def test_minutes_that_are_over_are_forgotten(
    catalog: Catalog, store: AuditStore, engine: Engine
) -> None:
    store.append([call(number // 2) for number in range(40)])
    budgets = [budget(1_500, period="minute"), budget(99_000, id=2)]
    replay = Replay(catalog, None, budgets, ZONE, many_lines=3)

    found = replay.run(past_calls(engine, START, END))

    assert found.refused_calls == 20
    assert len(replay._ends) < 10


def test_replay_command_answers_who_would_have_been_stopped(
    ask: Ask, engine: Engine, store: AuditStore, tmp_path: Path
) -> None:
    store.append([call(number) for number in range(100)])
    rule = {"scope": "user", "subject": "*", "metric": "tokens", "period": "month"}

    done = ask(*ASKED, "--budgets", file_of(tmp_path, rule | {"limit": 80_000}), "--json")

    (found,) = json.loads(done.stdout)
    assert (done.returncode, found["calls"], found["refused_calls"]) == (0, 100, 20)
    assert found["stopped"] == [
        rule
        | {
            "subject": "ana",
            "limit": 80_000,
            "mode": "enforce",
            "first_at": (NOW + timedelta(minutes=80)).isoformat(),
            "first_request_id": found["stopped"][0]["first_request_id"],
            "refused_calls": 20,
            "periods": 1,
        }
    ]


def test_replay_command_prints_tables_in_portuguese(
    ask: Ask, store: AuditStore, tmp_path: Path
) -> None:
    store.append([call(number) for number in range(3)])
    rule = {"scope": "user", "subject": "ana", "metric": "requests", "period": "day", "limit": 2}

    done = ask(*ASKED, "--budgets", file_of(tmp_path, rule), LOCALE="pt_BR")

    assert "chamadas recusadas  1\n" in done.stdout
    assert "quem teria sido parado:" in done.stdout
    assert "user    ana" in done.stdout


def test_replay_command_takes_a_file_of_prices(ask: Ask, store: AuditStore, tmp_path: Path) -> None:
    store.append([call(1, usage=Usage(900, 100))])

    done = ask(*ASKED, "--prices", str(dearer(tmp_path)), "--json")

    (found,) = json.loads(done.stdout)
    assert (found["cost_micro_usd"], found["replayed_micro_usd"]) == (100, 900 * 50 + 100 * 150)


def test_replay_command_without_budgets_takes_the_present_ones(ask: Ask, store: AuditStore) -> None:
    place = ("--scope", "user", "--subject", "*", "--metric", "tokens", "--period", "month")
    ask("budgets", "set", *place, "--limit", "1000")
    store.append([call(number) for number in range(3)])

    (found,) = json.loads(ask(*ASKED, "--json").stdout)

    assert [it["refused_calls"] for it in found["stopped"]] == [2]


def test_replay_changes_nothing(
    ask: Ask, engine: Engine, store: AuditStore, tmp_path: Path
) -> None:
    store.append([call(number) for number in range(3)])
    rule = {"scope": "global", "metric": "requests", "period": "day", "limit": 0}
    query = (
        "SELECT (SELECT count(*) FROM audit_events), (SELECT count(*) FROM budgets),"
        " (SELECT count(*) FROM budget_lines), (SELECT count(*) FROM holds)"
    )

    ask(*ASKED, "--budgets", file_of(tmp_path, rule))

    with changed(engine) as cursor:
        cursor.execute(query)
        assert cursor.fetchone() == (3, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1", "entry -, field -"),
        ("- [", "entry -, field -"),
        ("- 7", "entry 1, field -"),
        ("- {scope: user, subject: a, metric: tokens, period: day}", "field limit"),
        ("- {scope: user, subject: a, metric: tokens, period: day, limit: -1}", "field limit"),
        ("- {scope: user, subject: a, metric: tokens, period: day, limit: true}", "field limit"),
        ("- {scope: user, metric: tokens, period: day, limit: 1}", "field subject"),
        ("- {scope: global, subject: a, metric: tokens, period: day, limit: 1}", "field subject"),
        ("- {scope: city, subject: a, metric: tokens, period: day, limit: 1}", "field scope"),
        ("- {scope: user, subject: a, metric: tokens, period: year, limit: 1}", "field period"),
        ("- {scope: user, subject: a, metric: rows, period: day, limit: 1}", "field metric"),
        ("- {scope: user, subject: a, metric: cost, period: day, limit: 1, x: 1}", "field x"),
        ("- {scope: [], subject: a, metric: cost, period: day, limit: 1}", "field scope"),
        (
            "- &a {scope: user, subject: a, metric: cost, period: day, limit: 1}\n- *a",
            "entry 2, field subject",
        ),
    ],
)
def test_file_of_budgets_that_cannot_be_used_is_told_apart(
    ask: Ask, tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "budgets.yaml"
    path.write_text(content)

    done = ask(*ASKED, "--budgets", str(path))

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_file_of_prices_that_cannot_be_used_says_why(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("model_list: []")

    done = ask(*ASKED, "--prices", str(path))

    assert (done.returncode, done.stdout) == (2, "")
    assert "model_list" in done.stderr
