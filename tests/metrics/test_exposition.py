"""What `/metrics` says: of calls, of the ledger, of Postgres; in a form that Prometheus takes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from app.config.settings import PROJECT_ROOT, DatabaseSettings, Settings
from app.extensions import services_of
from app.serving.flask_app import SolarisFlask
from tests.asgi_client import AsgiClient
from tests.conftest import ADMIN_KEY
from tests.fakes.litellm import FakeLiteLLM, completion, status, stream
from tests.ledger.served import Served, StartServed
from tests.metrics.scraped import Scraped

BROKEN = status(500, {"error": {"message": "boom"}})
RULES = PROJECT_ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD = PROJECT_ROOT / "deploy" / "grafana" / "ia-solaris.json"
NAME = re.compile(r"\bsolaris_[a-z_]+")


def scraped(client: AsgiClient) -> Scraped:
    reply = client.call("GET", "/metrics", [("Authorization", f"Bearer {ADMIN_KEY}")])
    assert reply.status == 200
    return Scraped(reply.body.decode())


def test_answered_call_is_counted_with_its_tokens_cost_and_time(
    serve: StartServed, upstream: FakeLiteLLM
) -> None:
    served = serve()
    upstream.script(completion(usage={"prompt_tokens": 21, "completion_tokens": 5}))

    served.ask()

    seen = scraped(served.client)
    assert seen.value("solaris_requests_total", model="gpt-4o", status="200") == 1
    assert seen.value("solaris_tokens_total", model="gpt-4o", kind="input") == 21
    assert seen.value("solaris_tokens_total", model="gpt-4o", kind="output") == 5
    # 21 at US$ 5 and 5 at US$ 15 a million.
    assert seen.value("solaris_cost_micro_usd_total", model="gpt-4o") == 180
    assert seen.value("solaris_request_seconds_count", model="gpt-4o") == 1
    assert seen.value("solaris_ledger_batch_operations_count") >= 0


def test_stream_counts_its_first_byte(serve: StartServed) -> None:
    served = serve()

    served.ask(stream=True)

    seen = scraped(served.client)
    assert seen.value("solaris_first_byte_seconds_count", model="gpt-4o") == 1


def test_stream_that_breaks_counts_as_failed(serve: StartServed, upstream: FakeLiteLLM) -> None:
    served = serve()
    upstream.script(stream([b'data: {"choices":[]}\n\n']))

    served.ask(stream=True)

    seen = scraped(served.client)
    assert seen.value("solaris_requests_total", model="gpt-4o", status="502") == 1
    assert seen.value("solaris_refusals_total", reason="upstream_error") == 1


def test_fallback_is_counted_with_what_failed(serve: StartServed, upstream: FakeLiteLLM) -> None:
    served = serve()
    upstream.for_model("gpt-4o", BROKEN)

    served.ask()

    seen = scraped(served.client)
    assert seen.value("solaris_fallbacks_total", model="gpt-4o") == 1
    assert seen.value("solaris_attempt_failures_total", model="gpt-4o") == 1


def test_refused_call_is_counted_by_its_reason(serve: StartServed) -> None:
    served = serve()
    served.budget("requests", "day", 0)

    served.ask()

    seen = scraped(served.client)
    assert seen.value("solaris_refusals_total", reason="insufficient_quota") == 1
    assert seen.value("solaris_request_seconds_count", model="gpt-4o") == 0


def test_names_that_callers_invent_become_no_labels(serve: StartServed) -> None:
    served = serve()

    for number in range(5):
        served.ask(model=f"invented-{number}")

    seen = scraped(served.client)
    assert seen.value("solaris_requests_total", model="none", status="404") == 5
    assert "invented" not in seen.text


def test_nothing_of_a_person_is_in_it(serve: StartServed) -> None:
    served = serve()
    served.budget("requests", "day", 1)
    served.ask()
    served.settled("requests", "day")

    seen = scraped(served.client)

    assert seen.value("solaris_budgets_full", scope="user", percent="100") == 1
    assert "ana" not in re.findall(r'"([^"]*)"', seen.text)


def test_model_that_is_left_out_is_shown(serve: StartServed) -> None:
    served = serve()
    services = served.client.server.services
    for _ in range(services.catalog.health.unhealthy_threshold):
        services.health.record_failure("gpt-4o", "upstream_error")

    services.metrics.sample(0.003)

    seen = scraped(served.client)
    assert seen.value("solaris_breaker_open", model="gpt-4o") == 1
    assert seen.value("solaris_breaker_open", model="gpt-4") == 0
    assert seen.value("solaris_event_loop_lag_seconds_count") >= 1


def test_metrics_are_shown_while_postgres_is_away(
    start_asgi: Callable[..., AsgiClient], settings: Settings
) -> None:
    nowhere = "postgresql+psycopg2://localhost:1/x"
    away = replace(settings, database=DatabaseSettings(nowhere, nowhere))
    client = start_asgi(settings=away)

    seen = scraped(client)

    assert seen.value("solaris_database_up") == 0
    assert not seen.has("solaris_holds_pending")
    assert seen.has("solaris_spool_waiting_bytes")


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [("", 401), ("10.0.0.0/8", 401), ("127.0.0.1", 200), ("10.0.0.0/8, 127.0.0.0/8", 200)],
)
def test_networks_that_are_allowed_need_no_key(
    start_asgi: Callable[..., AsgiClient], settings: Settings, allowed: str, expected: int
) -> None:
    client = start_asgi(settings=settings, metrics_allow=allowed)

    assert client.call("GET", "/metrics").status == expected


def test_caller_far_away_is_not_taken_for_the_proxy_before_us(
    start_asgi: Callable[..., AsgiClient], settings: Settings
) -> None:
    client = start_asgi(settings=settings, metrics_allow="127.0.0.1")

    reply = client.call("GET", "/metrics", [("X-Forwarded-For", "203.0.113.9")])

    assert reply.status == 401


@pytest.fixture
def busy(serve: StartServed, upstream: FakeLiteLLM) -> Served:
    """A proxy of which every metric has something to say."""
    served = serve()
    served.budget("requests", "day", 3, scope="global", subject="")
    upstream.for_model("gpt-4o", BROKEN)
    served.ask(stream=True)
    served.ask(model="gpt-4")
    served.ask(model="gpt-4")
    served.ask(model="gpt-4")
    services = served.client.server.services
    services.metrics.sample(0.0)
    services.reconciliation.reconcile(services.reconciliation.yesterday())
    return served


def test_promtool_takes_the_metrics(busy: Served) -> None:
    text = scraped(busy.client).text

    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_rules_and_dashboard_name_metrics_that_there_are(busy: Served) -> None:
    seen = scraped(busy.client)
    there = {sample.name for family in seen.families for sample in family.samples}
    recorded = {rule["record"] for rule in rules() if "record" in rule}

    named = set(NAME.findall(json.dumps(rules()) + DASHBOARD.read_text()))

    assert named - there - recorded == set()


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_promtool_takes_the_rules_and_they_fire_as_they_should() -> None:
    folder = RULES.parent

    checked = subprocess.run(
        ["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    tested = subprocess.run(
        ["promtool", "test", "rules", "rules.test.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_counts_of_the_api_begin_anew_after_a_reset_and_prometheus_goes_on(
    serve: StartServed,
) -> None:
    served = serve()
    served.ask()
    served.ask(model="invented")
    before = api_counts(served)

    served.client.call("POST", "/api/admin/metrics/reset", ADMIN)
    served.ask()

    after = api_counts(served)
    kinds = ("total_requests", "successful_requests", "failed_requests")
    assert [before[it] for it in kinds] == [2, 1, 1]
    assert [after[it] for it in kinds] == [1, 1, 0]
    assert (before["success_rate_percent"], after["success_rate_percent"]) == (50.0, 100.0)
    assert before["total_cost_usd"] == "0.000180"
    assert scraped(served.client).value("solaris_requests_total") == 3


ADMIN = [("Authorization", f"Bearer {ADMIN_KEY}")]


def api_counts(served: Served) -> dict[str, Any]:
    reply = served.client.call("GET", "/api/admin/metrics", ADMIN)
    counts: dict[str, Any] = json.loads(reply.body)
    return counts


def test_openmetrics_parser_takes_it(client: FlaskClient, app: SolarisFlask) -> None:
    services_of(app).metrics.sample(0.0)
    answer = client.get("/metrics", headers=dict(ADMIN))

    families = list(text_string_to_metric_families(answer.text))

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert len({it.name for it in families}) == len(families)
