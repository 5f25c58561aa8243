"""Requests for more, from the person to the raise, by the API as by the pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.config.settings import Settings
from app.extensions import services_of
from app.services.raise_request_store import AlreadyAskedError
from app.serving.flask_app import SolarisFlask
from tests.admin.conftest import Ask
from tests.audit.trail import recorded

Json = dict[str, Any]


@pytest.fixture
def budget(ask: Ask) -> Json:
    body = {"scope": "user", "subject": "*", "metric": "cost", "period": "month", "limit": 10**7}
    made: Json = ask("POST", "/budgets", json=body).get_json()
    return made


@pytest.fixture
def asked(app: SolarisFlask, budget: Json) -> int:
    services = services_of(app)
    made = services.raise_requests.ask(
        "ana", budget["id"], amount=5_000_000, days=7, reason="fechamento"
    )
    return made.id


def test_request_that_is_approved_raises_the_budget_for_so_long(ask: Ask, asked: int) -> None:
    answer = ask("POST", f"/raise-requests/{asked}/approve", json={})

    said = answer.get_json()
    (raised,) = ask("GET", "/raises", subject="ana").get_json()["data"]
    assert (answer.status_code, said["state"], said["raise_id"]) == (200, "approved", raised["id"])
    assert raised["amount"] == 5_000_000
    expires_at = datetime.fromisoformat(raised["expires_at"])
    assert abs(expires_at - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=5)


def test_request_is_approved_with_another_amount_and_time(ask: Ask, asked: int) -> None:
    ask("POST", f"/raise-requests/{asked}/approve", json={"amount": 2_000_000, "days": 1})

    (raised,) = ask("GET", "/raises", subject="ana").get_json()["data"]
    assert raised["amount"] == 2_000_000
    expires_at = datetime.fromisoformat(raised["expires_at"])
    assert expires_at < datetime.now(UTC) + timedelta(days=1, minutes=5)


def test_request_that_is_declined_raises_nothing_and_keeps_the_answer(ask: Ask, asked: int) -> None:
    said = ask("POST", f"/raise-requests/{asked}/decline", json={"answer": "em março"}).get_json()

    assert (said["state"], said["answer"], said["raise_id"]) == ("declined", "em março", None)
    assert ask("GET", "/raises").get_json()["data"] == []


@pytest.mark.parametrize("first", ["approve", "decline"])
@pytest.mark.parametrize("second", ["approve", "decline"])
def test_request_is_decided_once(ask: Ask, asked: int, first: str, second: str) -> None:
    ask("POST", f"/raise-requests/{asked}/{first}", json={})

    again = ask("POST", f"/raise-requests/{asked}/{second}", json={})

    assert again.status_code == 409
    assert len(ask("GET", "/raises").get_json()["data"]) == (1 if first == "approve" else 0)


def test_person_waits_for_an_answer_before_they_ask_again(
    app: SolarisFlask, budget: Json, asked: int, ask: Ask
) -> None:
    requests = services_of(app).raise_requests
    with pytest.raises(AlreadyAskedError):
        requests.ask("ana", budget["id"], amount=1, days=1, reason="de novo")

    ask("POST", f"/raise-requests/{asked}/decline", json={})

    again = requests.ask("ana", budget["id"], amount=1, days=1, reason="de novo")
    assert again.state == "open"


def test_request_of_a_budget_that_is_gone_stays_open(ask: Ask, asked: int, budget: Json) -> None:
    ask("DELETE", f"/budgets/{budget['id']}")

    answer = ask("POST", f"/raise-requests/{asked}/approve", json={})

    assert answer.status_code == 404
    (row,) = ask("GET", "/raise-requests", state="open").get_json()["data"]
    assert (row["id"], row["decided_by"]) == (asked, None)


def test_what_was_asked_and_decided_is_on_record_without_the_reason(
    ask: Ask, asked: int, settings: Settings
) -> None:
    ask("POST", f"/raise-requests/{asked}/approve", json={})

    events = recorded(settings.database.url, 4)
    kinds = [it["kind"] for it in events]
    assert kinds[-3:] == ["raise_requested", "budget_raised", "raise_request_approved"]
    assert {it["person"] for it in events[-3:]} == {"ana"}
    assert "fechamento" not in str([it["detail"] for it in events])


def test_requests_are_listed_in_pages(ask: Ask, app: SolarisFlask, budget: Json) -> None:
    for person in ("a", "b", "c"):
        services_of(app).raise_requests.ask(
            person, budget["id"], amount=1, days=1, reason="trabalho"
        )

    first = ask("GET", "/raise-requests", limit=2).get_json()
    second = ask("GET", "/raise-requests", limit=2, cursor=first["next_cursor"]).get_json()

    assert [it["subject"] for it in first["data"] + second["data"]] == ["c", "b", "a"]
    assert second["next_cursor"] is None
