"""What is wrong with a request is said by the field's name, in the administrator's language."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import create_app
from app.config.settings import Settings
from tests.admin.conftest import Ask
from tests.conftest import ADMIN_KEY

# Path, query, the field that is named.
BAD_QUERIES = [
    ("/usage", {"group_by": "colour"}, "group_by.0"),
    ("/usage", {"group_by": "user,user"}, "group_by"),
    ("/usage", {"group_by": ""}, "group_by"),
    ("/usage", {"from": "2026-13-01"}, "from"),
    ("/usage", {"from": "2026-02-02", "to": "2026-02-01"}, "from"),
    ("/usage", {"to": "9999-12-31"}, "to"),
    ("/usage", {"format": "xml"}, "format"),
    ("/usage", {"by": "user"}, "by"),
    ("/audit", {"limit": "0"}, "limit"),
    ("/audit", {"limit": "201"}, "limit"),
    ("/audit", {"limit": "1_0"}, "limit"),
    ("/audit", {"limit": "ten"}, "limit"),
    ("/audit", {"limit": "9" * 30}, "limit"),
    ("/audit", {"user": "a\0b"}, "user"),
    ("/audit", {"user": ""}, "user"),
    ("/audit", {"user": "x" * 257}, "user"),
    ("/audit", {"since": "2026-11-24T10:00:00"}, "since"),
    ("/audit", {"since": "0001-01-01T00:00:00+14:00"}, "since"),
    ("/audit", {"since": "9999-12-31T23:00:00-23:00"}, "since"),
    ("/audit", {"status": "-1"}, "status"),
    ("/audit", {"cursor": "%%%"}, "cursor"),
    ("/audit", {"cursor": "WzFd"}, "cursor"),
    ("/audit", {"cursor": "bnVsbA"}, "cursor"),
    ("/alerts", {"past": "yes"}, "past"),
    ("/reconciliation/2026-02-30", {}, "day"),
]


@pytest.mark.parametrize(("path", "query", "field"), BAD_QUERIES, ids=repr)
def test_query_that_is_wrong_is_a_422_that_names_the_field(
    ask: Ask, path: str, query: dict[str, str], field: str
) -> None:
    response = ask("GET", path, **query)

    error = response.get_json()["error"]
    assert response.status_code == 422
    assert (error["code"], error["param"]) == ("invalid_request_error", field)
    assert f"o campo {field} " in error["message"]


def test_error_of_a_field_says_what_is_allowed_in_the_configured_language(
    settings: Settings,
) -> None:
    app = create_app(replace(settings, locale="en"))
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}

    response = app.test_client().get("/api/admin/audit?limit=500", headers=headers)

    app.background_loop.stop()
    message = "Invalid request: the field limit must be between 1–200."
    assert response.get_json()["error"]["message"] == message


def test_day_that_is_still_to_come_is_not_reconciled(ask: Ask) -> None:
    response = ask("POST", "/reconciliation/2999-01-01")

    assert (response.status_code, response.get_json()["error"]["param"]) == (422, "day")


@pytest.mark.parametrize(
    "path", ["/alerts/none-of-ours/acknowledge", "/alerts/channels/none/enable"], ids=repr
)
def test_what_is_not_there_is_a_404_in_the_envelope(ask: Ask, path: str) -> None:
    response = ask("POST", path)

    error = response.get_json()["error"]
    assert (response.status_code, error["code"]) == (404, "not_found")
    assert "none" in error["message"]
