"""Requests made from the description, good and bad: each answer is one that it describes."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from app.serving.flask_app import SolarisFlask
from tests.admin.test_openapi import COMMITTED, operations
from tests.conftest import ADMIN_KEY, WEBHOOK_SECRET

DESCRIPTION: dict[str, Any] = orjson.loads(COMMITTED.read_bytes())
OPERATIONS = [(method, path) for method, path, _ in operations(DESCRIPTION)]
NAMES = [f"{method} {path}" for method, path in OPERATIONS]
# Together 2,000 at least: `test_there_are_enough_of_them`.
EXAMPLES = 60


def refuses_bad_data(context: Any, response: Any, case: schemathesis.Case[Any]) -> bool | None:
    """Judge only what was sent: an empty list as a made-up parameter leaves no trace in a URL."""
    sent = dict(parse_qsl(urlsplit(response.request.url).query, keep_blank_values=True))
    if not set(case.query or ()) <= set(sent):
        return None
    return negative_data_rejection(context, response, case)


CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    refuses_bad_data,
]
AUTH = {"Authorization": f"Bearer {ADMIN_KEY}"}


WEBHOOK_AUTH = {"Authorization": f"Bearer {WEBHOOK_SECRET}"}
WEBHOOK_EXAMPLES = 300
EVENT_TYPES = ["request_start", "request_end", "request_error", "model_fallback", "rate_limit_hit"]
# As `docs/webhooks.md` has it; whether each event is one, the route says of each.
EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["event_type", "data"],
    "properties": {
        "event_type": {"anyOf": [{"enum": EVENT_TYPES}, {"type": "string"}]},
        "id": {"type": "string"},
        "timestamp": {"anyOf": [{"type": "string"}, {"type": "number"}]},
        "data": {
            "type": "object",
            "properties": {
                "request_id": {"type": "string"},
                "user_id": {"type": "string"},
                "model": {"type": "string"},
                "cost": {"type": "number"},
                "usage": {"type": "object"},
                "response_time_ms": {"type": "number"},
                "status": {"type": "string"},
                "error": {"type": "string"},
            },
        },
    },
}
COUNT = {"type": "integer", "minimum": 0}
PROCESSED = {
    "type": "object",
    "required": ["status", "accepted", "ignored", "rejected", "problems"],
    "properties": {
        "status": {"const": "processed"},
        "accepted": COUNT,
        "ignored": COUNT,
        "rejected": COUNT,
        "problems": {"type": "array"},
    },
    "additionalProperties": False,
}
ENVELOPE = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message", "type", "param", "code"]}},
}


def answered(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "", "content": {"application/json": {"schema": schema}}}


WEBHOOK: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Events from LiteLLM", "version": "1"},
    "paths": {
        "/api/webhooks/litellm": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"anyOf": [EVENT, {"type": "array", "items": EVENT}]}
                        }
                    },
                },
                "responses": {"200": answered(PROCESSED), "400": answered(ENVELOPE)},
            }
        }
    },
}


def asked_of(
    app: SolarisFlask,
    description: dict[str, Any],
    method: str,
    path: str,
    headers: dict[str, str],
    examples: int,
    checks: list[Any],
) -> None:
    """Ask so often, well and badly; each answer must pass the checks."""
    operation = schemathesis.openapi.from_dict(description)[path][method]
    cases = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )

    @settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=cases)
    def ask(case: schemathesis.Case[Any]) -> None:
        case.operation.app = app
        response = case.call(headers=headers, app=app)
        case.validate_response(response, checks=checks)

    ask()


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=NAMES)
def test_answer_to_any_request_is_as_described(app: SolarisFlask, method: str, path: str) -> None:
    asked_of(app, DESCRIPTION, method, path, AUTH, EXAMPLES, CHECKS)


def test_webhook_answers_any_delivery_as_described(app: SolarisFlask) -> None:
    # A delivery in which one of many is an event is taken, so that bad data is not refused whole.
    checks = [it for it in CHECKS if it is not refuses_bad_data]
    path = "/api/webhooks/litellm"

    asked_of(app, WEBHOOK, "POST", path, WEBHOOK_AUTH, WEBHOOK_EXAMPLES, checks)


def test_there_are_enough_of_them() -> None:
    assert len(OPERATIONS) * EXAMPLES + WEBHOOK_EXAMPLES >= 2_000
