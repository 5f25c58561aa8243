"""Keys over HTTP: made, listed, changed, rotated, revoked; and what goes on record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.config.settings import Settings
from tests.admin.conftest import Ask
from tests.audit.trail import recorded
from tests.ledger.served import Served, StartServed

LATER = (datetime.now(UTC) + timedelta(days=30)).isoformat()
SOON = datetime.now(UTC) + timedelta(hours=1)


def made(ask: Ask, **body: Any) -> tuple[str, dict[str, Any]]:
    answer = ask("POST", "/keys", json={"name": "librechat", **body})
    assert answer.status_code == 201, answer.text
    said = answer.get_json()
    return said["key"], said["record"]


def may_call(client: FlaskClient, key: str) -> bool:
    return client.get("/v1/models", headers={"x-api-key": key}).status_code == 200


def test_key_is_shown_once_when_it_is_made(ask: Ask, client: FlaskClient) -> None:
    key, record = made(ask, user="ana", team="vendas", models=["gpt-4o"], expires_at=LATER)

    assert may_call(client, key)
    assert (record["user"], record["team"], record["models"]) == ("ana", "vendas", ["gpt-4o"])
    assert key not in ask("GET", f"/keys/{record['id']}").text + ask("GET", "/keys").text


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"name": "librechat"}, 409, None),
        ({"name": ""}, 422, "name"),
        ({"name": "a", "role": "root"}, 422, "role"),
        ({"name": "a", "models": ["gpt-9"]}, 422, "models"),
        ({"name": "a", "user": "*"}, 422, "user"),
        ({"name": "a", "trusted": 1}, 422, "trusted"),
        ({"name": "a", "expires_at": "2026-01-01T00:00:00"}, 422, "expires_at"),
        ({"name": "a", "expires": LATER}, 422, "expires"),
        ({}, 422, "name"),
    ],
    ids=["taken", "empty", "role", "models", "everybody", "trusted", "naive", "unknown", "none"],
)
def test_key_that_cannot_be_made_says_why(
    ask: Ask, body: dict[str, Any], status: int, field: str | None
) -> None:
    made(ask)

    answer = ask("POST", "/keys", json=body)

    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, field)


def test_keys_are_listed_by_state_in_pages(ask: Ask) -> None:
    ids = [made(ask, name=f"key-{number}", team="vendas")[1]["id"] for number in range(5)]
    ask("DELETE", f"/keys/{ids[0]}")

    first = ask("GET", "/keys", state="live", team="vendas", limit=3).get_json()
    second = ask("GET", "/keys", state="live", limit=3, cursor=first["next_cursor"]).get_json()

    assert [row["id"] for row in first["data"] + second["data"]] == ids[1:]
    assert second["next_cursor"] is None
    assert [row["id"] for row in ask("GET", "/keys", state="revoked").get_json()["data"]] == ids[:1]


def test_rotated_key_lives_beside_its_successor_until_its_grace_is_over(
    ask: Ask, client: FlaskClient
) -> None:
    old, record = made(ask, user="ana", models=["gpt-4o"])

    said = ask("POST", f"/keys/{record['id']}/rotate", json={"grace_s": 3600}).get_json()

    before = ask("GET", f"/keys/{record['id']}").get_json()
    assert may_call(client, old)
    assert may_call(client, said["key"])
    assert {said["record"][it] for it in ("name", "user")} == {"librechat", "ana"}
    assert said["record"]["models"] == ["gpt-4o"]
    assert abs(datetime.fromisoformat(before["expires_at"]) - SOON) < timedelta(minutes=10)
    assert before["replaced_at"] is not None


def test_rotated_key_without_grace_ends_at_once(ask: Ask, client: FlaskClient) -> None:
    old, record = made(ask)

    said = ask("POST", f"/keys/{record['id']}/rotate", json={"grace_s": 0}).get_json()

    assert may_call(client, said["key"])
    assert not may_call(client, old)


def test_key_that_has_a_successor_is_not_rotated_again(ask: Ask) -> None:
    _, record = made(ask)
    ask("POST", f"/keys/{record['id']}/rotate", json={})

    again = ask("POST", f"/keys/{record['id']}/rotate", json={})

    assert again.status_code == 409


def test_rotated_key_and_its_successor_draw_on_one_budget(serve: StartServed) -> None:
    served = serve()
    served.budget("requests", "day", 1, scope="key", subject="laptop")
    access = served.client.server.services.access
    old, record = access.create_key("laptop")
    new, _ = access.rotate_key(record.id, timedelta(hours=1))

    first, second = (Served(served.client, key).ask() for key in (old, new))

    assert (first.status, second.status) == (200, 402)


def test_key_whose_models_are_changed_calls_only_those(ask: Ask, client: FlaskClient) -> None:
    key, record = made(ask)

    changed = ask("PATCH", f"/keys/{record['id']}", json={"models": ["gpt-4o"]})

    listed = client.get("/v1/models", headers={"x-api-key": key}).get_json()["data"]
    assert changed.get_json()["models"] == ["gpt-4o"]
    assert [model["id"] for model in listed] == ["gpt-4o"]


def test_change_of_a_key_is_on_record_with_before_and_after(ask: Ask, settings: Settings) -> None:
    _, record = made(ask, expires_at=LATER)

    ask("PATCH", f"/keys/{record['id']}", json={"expires_at": None})

    event = recorded(settings.database.url, 2)[-1]
    assert (event["kind"], event["key"]) == ("key_changed", "librechat")
    assert event["detail"]["before"]["expires_at"] is not None
    assert event["detail"]["after"]["expires_at"] is None
    assert event["detail"]["by"] == "key:ADMIN_API_KEY"


def test_revoked_key_is_refused_and_cannot_be_changed(ask: Ask, client: FlaskClient) -> None:
    key, record = made(ask)

    ask("DELETE", f"/keys/{record['id']}")

    assert not may_call(client, key)
    assert ask("PATCH", f"/keys/{record['id']}", json={"expires_at": None}).status_code == 409
    assert ask("DELETE", f"/keys/{record['id']}").status_code == 409
    assert ask("GET", "/keys/999").status_code == 404


def test_moment_of_any_offset_is_taken(ask: Ask) -> None:
    moment = "2322-09-23T21:20:46+17:52"

    _, record = made(ask, expires_at=moment)

    expires_at = datetime.fromisoformat(record["expires_at"])
    assert expires_at == datetime.fromisoformat(moment)
