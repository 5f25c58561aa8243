"""What forms do that no browser would send, and what is shown when something breaks."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from app.extensions import services_of
from app.serving.flask_app import SolarisFlask
from tests.admin.conftest import Ask
from tests.pages.browserless import send, sign_in

SWITCH = "/admin/kill-switch"
BUDGETS = "/admin/budgets"


def test_kill_switch_without_the_confirmation_is_refused_by_the_server_too(
    client: FlaskClient, ask: Ask
) -> None:
    sign_in(client)

    send(client, SWITCH, at=SWITCH, form="throw", back=SWITCH, scope="all", reason="engano")

    assert ask("GET", "/killswitch").get_json()["data"] == []
    page = client.get(SWITCH).text
    assert "“Tenho certeza” é obrigatório" in page
    assert 'value="engano"' in page


def test_refused_form_is_told_of_once(client: FlaskClient) -> None:
    sign_in(client)
    send(client, BUDGETS, at=BUDGETS, form="budget", back=BUDGETS, metric="cost", limit="x")

    first, second = client.get(BUDGETS).text, client.get(BUDGETS).text

    assert "“Limite” deve ser um número" in first
    assert "“Limite” deve ser um número" not in second


def test_refused_form_that_is_huge_is_told_of_all_the_same(client: FlaskClient) -> None:
    sign_in(client)
    said = {f"field-{number}": "x" * 5_000 for number in range(50)}

    answer = send(client, BUDGETS, at=BUDGETS, form="budget", back=BUDGETS, limit="x", **said)

    assert answer.status_code == 303
    assert len(answer.headers["Set-Cookie"]) < 4_093
    assert 'role="alert"' in client.get(BUDGETS).text


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/v1/models", ""])
def test_refused_form_leads_back_to_pages_of_ours_only(client: FlaskClient, back: str) -> None:
    sign_in(client)

    answer = send(client, BUDGETS, at=BUDGETS, form="budget", back=back, limit="x")

    assert answer.location == "/admin/"


def test_bad_filter_in_an_address_is_told_by_its_name(client: FlaskClient) -> None:
    sign_in(client)

    answer = client.get("/admin/requests?status=abc")

    assert answer.status_code == 422
    assert "“Status” deve ser um número inteiro" in answer.text


def test_address_cannot_be_made_to_lead_elsewhere_by_its_query(
    client: FlaskClient, ask: Ask
) -> None:
    for number in range(3):
        ask("POST", "/users", json={"id": f"p-{number}"})
    sign_in(client)

    page = client.get("/admin/people?limit=1&_external=1&_scheme=javascript&_anchor=x").text

    assert "javascript:" not in page
    assert 'href="/admin/people?limit=1&amp;_external=1' in page


def test_fault_of_ours_is_a_page_with_its_number_and_nothing_internal(
    app: SolarisFlask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("secret of the inside")

    sign_in(client)
    monkeypatch.setattr(services_of(app).overview, "today", broken)

    answer = client.get("/admin/")

    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert "secret of the inside" not in answer.text
    assert answer.content_type.startswith("text/html")
