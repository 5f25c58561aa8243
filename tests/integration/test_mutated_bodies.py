"""Bad bodies, two thousand at every route: never our failure, and never passed on malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import create_app
from app.config.settings import Settings
from tests.asgi_client import Reply
from tests.catalogs import EMBEDDER, MODELS, WELL
from tests.fakes.litellm import Received
from tests.mutations import mutated
from tests.watched import WatchedProxy

BODIES_A_ROUTE = 2000

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHAT: dict[str, Any] = {
    "model": WELL,
    "messages": [
        {"role": "system", "content": "seja breve"},
        {"role": "user", "content": [{"type": "text", "text": "olá"}, PICTURE]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "12 °C"}]},
    ],
    "tools": [TOOL],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 16,
    "max_completion_tokens": None,
    "n": 1,
    "user": "ana",
    "metadata": {"tags": ["x"]},
}
# A good body for each route, with everything that the proxy looks at.
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {
        "model": WELL,
        "prompt": ["olá", "oi"],
        "stream": True,
        "stream_options": {"include_usage": False},
        "max_tokens": 16,
        "n": 1,
        "best_of": 1,
        "user": "ana",
    },
    "/v1/embeddings": {
        "model": EMBEDDER,
        "input": ["olá", [1, 2, 3]],
        "dimensions": 8,
        "encoding_format": "base64",
        "user": "ana",
    },
    "/v1/responses": {
        "model": WELL,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "olá"}, PICTURE]}],
        "instructions": "seja breve",
        "tools": [TOOL],
        "stream": True,
        "max_output_tokens": 16,
        "previous_response_id": None,
        "store": False,
        "user": "ana",
    },
    "/v1/messages": {
        "model": WELL,
        "system": [{"type": "text", "text": "seja breve"}],
        "messages": [
            {"role": "user", "content": "olá"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "input": {}}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "1", "content": [PICTURE]}],
            },
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "stream": True,
        "max_tokens": 16,
        "metadata": {"user_id": "ana"},
    },
    "/v1/messages/count_tokens": {
        "model": WELL,
        "messages": [{"role": "user", "content": "olá"}],
        "system": "seja breve",
    },
}


def question_of(route: str) -> str:
    """Return the field that a route's bodies ask in."""
    return next(name for name in ("messages", "prompt", "input") if name in GOOD[route])


def post_routes() -> list[str]:
    rules = create_app(Settings()).url_map.iter_rules()
    return sorted(
        rule.rule
        for rule in rules
        if rule.rule.startswith("/v1") and "POST" in (rule.methods or ())
    )


@pytest.mark.parametrize("route", post_routes())
def test_body_that_is_good_is_answered(proxy: WatchedProxy, route: str) -> None:
    assert route in GOOD, "a new route needs a good body in this table"

    reply = post(proxy, route, json.dumps(GOOD[route]).encode())

    assert reply.status == 200


@pytest.mark.parametrize("route", post_routes())
@settings(
    max_examples=BODIES_A_ROUTE,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_body_that_is_mutated_is_never_our_failure(
    proxy: WatchedProxy, route: str, data: st.DataObject
) -> None:
    raw = data.draw(mutated(GOOD[route]), label="body")
    proxy.upstream.received.clear()

    reply = post(proxy, route, raw)

    assert_answer_or_envelope(reply)
    for call in proxy.upstream.calls:
        assert_well_formed(call, question_of(route))


def post(proxy: WatchedProxy, route: str, raw: bytes) -> Reply:
    exchange = proxy.exchange_of(route, raw)
    reply = proxy.client.run(exchange.run())
    assert exchange.error is None
    return reply


def assert_answer_or_envelope(reply: Reply) -> None:
    assert not reply.is_cut
    if reply.status == 200:
        assert b'"code":"upstream' not in reply.body
        return
    assert 400 <= reply.status < 500, reply.body
    error = json.loads(reply.body)["error"]
    assert error["message"]
    assert isinstance(error["code"], str)


def assert_well_formed(call: Received, question: str) -> None:
    """What LiteLLM gets is strict JSON that asks one of our models something."""
    body = json.loads(call.raw.decode(), parse_constant=_no_json)
    assert body["model"] in MODELS
    assert isinstance(body[question], str | list)
    assert body[question]
    assert (body["disable_fallbacks"], body["num_retries"]) == (True, 0)


def _no_json(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")
