"""The simulation of a call: what it says is what then happens, and it does nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.config.catalog import Catalog, HealthPolicy
from app.config.settings import Settings
from app.dialects.base import Usage
from app.extensions import Services, services_of
from app.services.fallback_simulation import Simulated
from app.services.health_service import HealthService, Refusal
from app.services.token_service import cost_of
from app.serving.flask_app import SolarisFlask
from tests.admin.conftest import Ask
from tests.audit.trail import calls_on_record
from tests.fakes.clock import FakeClock
from tests.fakes.litellm import FakeLiteLLM, status
from tests.ledger.served import Served, StartServed

BROKEN = {"error": {"message": "boom", "type": "server_error"}}


def steps(answer: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(it["model"], it["outcome"], it["reason"]) for it in answer["path"]]


def simulate(ask: Ask, **query: Any) -> dict[str, Any]:
    answer = ask("GET", "/fallback/simulate", **query)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.get_json()
    return said


@pytest.fixture
def chain(app: SolarisFlask) -> list[str]:
    """Return a model and its fallbacks, of which there are at least two."""
    models = services_of(app).catalog.resolve("gpt-4o")
    assert models is not None
    assert len(models) >= 3
    return [it.name for it in models]


@pytest.fixture
def catalog(app: SolarisFlask) -> Catalog:
    return services_of(app).catalog


def test_model_that_is_well_answers_and_the_rest_is_not_tried(ask: Ask, chain: list[str]) -> None:
    said = simulate(ask, model="gpt-4o")

    assert (said["answered_by"], said["error"]) == ("gpt-4o", None)
    assert steps(said) == [
        (chain[0], "answered", None),
        *((name, "not_tried", None) for name in chain[1:]),
    ]


def test_price_is_of_the_call_and_compared_with_the_model_asked_for(
    ask: Ask, chain: list[str], catalog: Catalog
) -> None:
    said = simulate(ask, model="gpt-4o", input_tokens=2000, output_tokens=100)

    costs = [cost_of(catalog.models[name], Usage(2000, 100)) for name in chain]
    # 2,000 tokens at US$ 5 and 100 at US$ 15 a million.
    assert costs[0] == 11_500
    assert [it["cost_micro_usd"] for it in said["path"]] == costs
    assert [it["difference_micro_usd"] for it in said["path"]] == [it - costs[0] for it in costs]


def test_group_is_answered_by_its_first_member(ask: Ask, catalog: Catalog) -> None:
    name, group = next(iter(catalog.groups.items()))

    said = simulate(ask, model=name)

    assert said["answered_by"] == group.members[0]
    assert [it["model"] for it in said["path"]] == list(group.members)


def test_simulation_asks_no_model_and_holds_nothing(
    ask: Ask, app: SolarisFlask, upstream: FakeLiteLLM
) -> None:
    services = services_of(app)
    services.budgets.set(
        scope="user", subject="ana", metric="requests", period="day", limit=1, mode="enforce"
    )

    said = [simulate(ask, model="gpt-4o", user="ana")["answered_by"] for _ in range(3)]

    assert said == ["gpt-4o"] * 3
    assert [(it.posted, it.pending) for it in services.budgets.states() if it.subject == "ana"] == [
        (0, 0)
    ]
    assert upstream.calls == []


def test_person_is_bound_by_the_budgets_of_their_team(ask: Ask, app: SolarisFlask) -> None:
    services = services_of(app)
    services.people.create_person("ana", {"team": "vendas"})
    services.budgets.set(
        scope="team", subject="vendas", metric="cost", period="month", limit=0, mode="enforce"
    )

    said = simulate(ask, model="gpt-4o", user="ana")

    assert (said["answered_by"], said["team"]) == (None, "vendas")
    assert (said["error"]["status"], said["error"]["code"]) == (402, "insufficient_quota")
    assert "equipe" in said["error"]["message"]


def test_everybody_stopped_is_an_error_of_the_simulated_call(ask: Ask) -> None:
    ask("POST", "/killswitch", json={"scope": "all", "reason": "auditoria"})

    said = simulate(ask, model="gpt-4o")

    assert (said["error"]["status"], said["error"]["code"]) == (403, "access_suspended")
    assert {it["outcome"] for it in said["path"]} == {"not_tried"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "model"),
        ({"model": "gpt-9"}, "model"),
        ({"model": "gpt-4o", "down": "gpt-9"}, "down"),
        ({"model": "gpt-4o", "input_tokens": "x"}, "input_tokens"),
        ({"model": "gpt-4o", "output_tokens": "0"}, "output_tokens"),
    ],
    ids=["none", "unknown", "down", "text", "zero"],
)
def test_question_that_cannot_be_meant_names_the_field(
    ask: Ask, query: dict[str, str], field: str
) -> None:
    answer = ask("GET", "/fallback/simulate", **query)

    assert (answer.status_code, answer.get_json()["error"]["param"]) == (422, field)


# What is simulated is what then happens.


def fail(upstream: FakeLiteLLM, *models: str) -> None:
    for model in models:
        upstream.for_model(model, status(500, BROKEN))


def nothing(_services: Services, _chain: list[str]) -> None:
    pass


def open_breaker_of_the_second(services: Services, chain: list[str]) -> None:
    for _ in range(services.catalog.health.unhealthy_threshold):
        services.health.record_failure(chain[1], "upstream_error")


def limit_the_second(services: Services, chain: list[str]) -> None:
    services.health.record_rate_limit(chain[1], 60)


def stop_the_second(services: Services, chain: list[str]) -> None:
    services.kill_switch.throw(scope="model", subject=chain[1], reason="auditoria")


def no_budget_for_the_second(services: Services, chain: list[str]) -> None:
    services.budgets.set(
        scope="model", subject=chain[1], metric="requests", period="day", limit=0, mode="enforce"
    )


Prepare = Callable[[Services, list[str]], None]


@pytest.mark.parametrize("down", [0, 1, 2], ids=["none-down", "first-down", "two-down"])
@pytest.mark.parametrize(
    "prepare",
    [
        nothing,
        open_breaker_of_the_second,
        limit_the_second,
        stop_the_second,
        no_budget_for_the_second,
    ],
)
def test_call_goes_the_way_that_was_simulated(
    serve: StartServed,
    upstream: FakeLiteLLM,
    settings: Settings,
    chain: list[str],
    prepare: Prepare,
    down: int,
) -> None:
    served = serve()
    services = served.client.server.services
    prepare(services, chain)
    served.client.run(services.switches.poll())
    missing = [chain[0], chain[2]][:down]

    simulated = run(served, down=missing, user="ana")
    fail(upstream, *missing)
    reply = served.ask()

    event = calls_on_record(settings.database.url)[-1]
    went = event["detail"].get("path") or [{"model": event["used"], "outcome": "answered"}]
    foreseen = [it for it in simulated.path if it.outcome != "not_tried"]
    assert [(it["model"], it["outcome"]) for it in went] == [
        (it.model, it.outcome) for it in foreseen
    ]
    assert [it.get("reason") for it in went if it["outcome"] == "skipped"] == [
        it.reason for it in foreseen if it.outcome == "skipped"
    ]
    assert reply.header("x-solaris-model") == simulated.answered_by


def run(served: Served, **asked: Any) -> Simulated:
    simulation = served.client.server.services.simulation
    return served.client.run(
        simulation.simulate("gpt-4o", input_tokens=100, output_tokens=20, **asked)
    )


def test_looking_at_a_model_takes_no_trial_from_a_call() -> None:
    clock = FakeClock()
    health = HealthService(HealthPolicy(30.0, 3, 10.0), clock)
    for _ in range(3):
        health.record_failure("gpt-4o", "upstream_error")
    seen = [health.peek("gpt-4o")]
    clock.advance(11)
    seen += [health.peek("gpt-4o"), health.peek("gpt-4o")]

    admitted = asyncio.run(health.admit("gpt-4o"))

    assert seen == [Refusal("breaker_open"), None, None]
    assert not isinstance(admitted, Refusal)
    assert health.peek("gpt-4o") == Refusal("breaker_open")
