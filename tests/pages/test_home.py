"""Today at a glance: the figures are those of the ledger and the trail."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import create_engine

from app.audit.chain import AuditKeys
from app.audit.store import AuditStore
from app.config.settings import Settings
from app.extensions import services_of
from app.services.overview_service import DAYS_SHOWN, HOURS_SHOWN, OverviewService
from app.serving.flask_app import SolarisFlask
from tests.audit.events import event
from tests.audit.trails import ZONE
from tests.ledger.served import StartServed


@pytest.fixture
def overview(app: SolarisFlask) -> OverviewService:
    return services_of(app).overview


def test_company_that_has_done_nothing_has_empty_figures(overview: OverviewService) -> None:
    today = overview.today()

    assert today.today.requests == today.month.requests == 0
    assert (len(today.hours), len(today.days)) == (HOURS_SHOWN, DAYS_SHOWN)
    assert (today.budgets, today.alerts, today.raise_requests) == ([], [], [])
    assert {it.status.value for it in today.models} == {"unavailable"}


def test_calls_are_counted_in_their_hour_and_on_their_day(
    overview: OverviewService, settings: Settings
) -> None:
    now = overview.today().now
    engine = create_engine(settings.database.url)
    AuditStore(engine, AuditKeys(settings.audit.hmac_keys).current, ZONE).append(
        [
            event(1, at=now),
            event(2, at=now, status=503),
            event(3, at=now - timedelta(hours=3)),
            event(4, at=now - timedelta(hours=HOURS_SHOWN + 1)),
            event(5, at=now - timedelta(days=DAYS_SHOWN + 40)),
        ]
    )
    engine.dispose()

    today = overview.today()

    assert [(it.calls, it.failed) for it in today.hours if it.calls] == [(1, 0), (2, 1)]
    assert (today.hours[-1].calls, today.hours[-4].calls) == (2, 1)
    assert sum(sums.requests for _, sums in today.days) == 4
    assert today.days[-1][1] == today.today


def test_companys_budget_comes_first_then_the_fullest(serve: StartServed) -> None:
    served = serve()
    for subject, limit in (("ana", 2), ("bia", 10**6)):
        served.budget("requests", "day", limit, scope="user", subject=subject)
    served.budget("requests", "day", 10**9, scope="global", subject="")
    assert served.ask().status == 200
    served.settled("requests", "day")
    overview = services_of(served.client.server.app).overview

    found = [it.gauge for it in overview.today().budgets if it.gauge.metric == "requests"]

    assert [(it.scope, it.subject, it.used) for it in found] == [
        ("global", "", 1),
        ("user", "ana", 1),
    ]
