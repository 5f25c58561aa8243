"""Who may do what under `/api`, and what the logs say of it all, which is never what was said."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from pythonjsonlogger.orjson import OrjsonFormatter

from app import create_app
from app.config.settings import Settings
from app.events.delivery import MAX_DELIVERY_BYTES
from app.extensions import services_of
from app.serving.flask_app import SolarisFlask
from app.utils.json_logging import RequestIdFilter, logging_config
from app.utils.signatures import sign
from tests.asgi_client import LEAVE, AsgiClient
from tests.conftest import ADMIN_KEY, WEBHOOK_SECRET
from tests.fakes.litellm import FakeLiteLLM, Handler, cut, openai_events, raw, silence, sse, status
from tests.raw_http import RawClient, request_bytes
from tests.servers import ProxyServer

MakeKey = Callable[..., str]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# --- administration ------------------------------------------------------------------------------

READ_ROUTES = [
    ("GET", "/api/admin/models/status"),
    ("GET", "/api/admin/models/gpt-4/info"),
    ("GET", "/api/admin/litellm/health"),
]
WRITE_ROUTES = [("POST", "/api/admin/models/refresh")]
READERS = ("viewer", "auditor", "admin")


@pytest.mark.parametrize("role", ["user", *READERS])
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [(*route, READERS) for route in READ_ROUTES] + [(*route, ("admin",)) for route in WRITE_ROUTES],
)
def test_admin_route_is_open_to_its_roles_only(
    client: FlaskClient,
    make_key: MakeKey,
    method: str,
    path: str,
    allowed: tuple[str, ...],
    role: str,
) -> None:
    response = client.open(path, method=method, headers=bearer(make_key(role=role)))

    assert response.status_code == (200 if role in allowed else 403)
    if role not in allowed:
        assert response.get_json()["error"]["code"] == "permission_denied"


@pytest.mark.parametrize(("method", "path"), READ_ROUTES + WRITE_ROUTES)
def test_admin_route_is_open_to_the_key_of_the_environment(
    client: FlaskClient, method: str, path: str
) -> None:
    assert client.open(path, method=method, headers=bearer(ADMIN_KEY)).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"X-Solaris-Role": "admin"}, {"X-Solaris-User-Role": "admin"}], ids=str
)
def test_admin_route_does_not_believe_a_role_in_a_header(
    client: FlaskClient, make_key: MakeKey, headers: dict[str, str]
) -> None:
    auth = bearer(make_key(trusted=True))

    response = client.get("/api/admin/models/status", headers={**auth, **headers})

    assert response.status_code == 403


def test_admin_models_status_lists_every_model(client: FlaskClient, app: SolarisFlask) -> None:
    body = client.get("/api/admin/models/status", headers=bearer(ADMIN_KEY)).get_json()

    statuses = {model["id"]: model["status"] for model in body["models"]}
    assert list(statuses) == services_of(app).catalog.names()
    # The two that the fake offers.
    assert (statuses["gpt-4"], statuses["gpt-4o"]) == ("healthy", "healthy")
    assert statuses["claude-3-opus"] == "unavailable"
    assert body["metrics"]["total_requests"] == 0


def test_admin_info_of_an_unknown_model_is_404(client: FlaskClient) -> None:
    response = client.get("/api/admin/models/gpt-9/info", headers=bearer(ADMIN_KEY))

    assert response.status_code == 404
    assert response.get_json()["error"]["code"] == "model_not_found"


def test_admin_health_with_litellm_away_is_503(client: FlaskClient, upstream: FakeLiteLLM) -> None:
    upstream.stop()

    response = client.get("/api/admin/litellm/health", headers=bearer(ADMIN_KEY))

    assert response.status_code == 503
    assert response.get_json()["status"] == "unhealthy"


# --- the webhook ---------------------------------------------------------------------------------

EVENT = b'{"event_type": "request_start", "data": {"request_id": "r-1", "model": "gpt-4"}}'
PREVIOUS_SECRET = "the-previous-webhook-secret"


def deliver(client: FlaskClient, body: bytes, signature: str | None) -> tuple[int, str]:
    """Return the status, and the error's code or what became of it."""
    headers = {} if signature is None else {"X-Signature-256": signature}
    response = client.post("/api/webhooks/litellm", data=body, headers=headers)
    said = response.get_json()
    return response.status_code, said.get("status") or said["error"]["code"]


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        sign(EVENT, "another-secret"),
        sign(EVENT + b" ", WEBHOOK_SECRET),
        sign(EVENT, WEBHOOK_SECRET).removeprefix("sha256="),
        sign(EVENT, WEBHOOK_SECRET).upper(),
        "sha256=çãé",
        "sha256=" + "é" * 64,
    ],
)
def test_delivery_without_the_right_signature_is_401(
    client: FlaskClient, signature: str | None
) -> None:
    assert deliver(client, EVENT, signature) == (401, "invalid_signature")


def test_delivery_with_an_api_key_instead_of_a_signature_is_401(client: FlaskClient) -> None:
    response = client.post("/api/webhooks/litellm", data=EVENT, headers=bearer(ADMIN_KEY))

    assert response.status_code == 401


def test_delivery_with_the_right_signature_is_accepted(client: FlaskClient) -> None:
    assert deliver(client, EVENT, sign(EVENT, WEBHOOK_SECRET)) == (200, "processed")


@pytest.mark.parametrize(
    ("secret", "answer"),
    [
        (WEBHOOK_SECRET, (200, "processed")),
        (PREVIOUS_SECRET, (200, "processed")),
        ("x", (401, "invalid_signature")),
    ],
)
def test_delivery_signed_with_either_of_two_secrets_is_accepted(
    settings: Settings, secret: str, answer: tuple[int, str]
) -> None:
    secrets = (WEBHOOK_SECRET, PREVIOUS_SECRET)
    app = create_app(
        replace(settings, security=replace(settings.security, webhook_secrets=secrets))
    )

    answered = deliver(app.test_client(), EVENT, sign(EVENT, secret))

    app.background_loop.stop()
    assert answered == answer


@pytest.mark.parametrize(
    ("environment", "answer"),
    [("production", (401, "invalid_signature")), ("development", (200, "processed"))],
)
@pytest.mark.parametrize("signature", [None, "", sign(EVENT, "")])
def test_delivery_where_no_secret_is_set_is_for_development_only(
    settings: Settings, environment: str, answer: tuple[int, str], signature: str | None
) -> None:
    security = replace(settings.security, webhook_secrets=())
    app = create_app(replace(settings, security=security, environment=environment))

    answered = deliver(app.test_client(), EVENT, signature)

    app.background_loop.stop()
    assert answered == answer


def test_delivery_that_is_too_large_is_413(client: FlaskClient) -> None:
    body = bytes(MAX_DELIVERY_BYTES + 1)

    assert deliver(client, body, sign(body, WEBHOOK_SECRET)) == (413, "request_too_large")


def test_delivery_that_is_just_small_enough_is_verified_and_read(client: FlaskClient) -> None:
    body = EVENT.ljust(MAX_DELIVERY_BYTES)

    assert deliver(client, body, sign(body, WEBHOOK_SECRET)) == (200, "processed")
    assert deliver(client, body, sign(body, "another")) == (401, "invalid_signature")


# --- what the logs say ---------------------------------------------------------------------------

CANARY = "canary-7f3a"
PROMPT = f"{CANARY} my secret question"
CHAT: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": PROMPT}]}
STREAM = {**CHAT, "stream": True}
CANARY_HEADERS = {
    "X-Solaris-User-Email": f"{CANARY}@example.com",
    "X-Solaris-User-Name": CANARY,
    "X-Solaris-Conversation-Id": CANARY,
    "Cookie": f"session={CANARY}",
    "User-Agent": CANARY,
    "X-Anything": CANARY,
}
FIRST = openai_events([CANARY], None)[0]
SAID_BY_LITELLM = {"error": {"message": f"litellm: Messages: {PROMPT}", "type": CANARY}}

# What LiteLLM does, and the body sent: every way in which a call can end.
SCENARIOS: dict[str, tuple[Handler | None, bytes]] = {
    "whole": (None, orjson.dumps(CHAT)),
    "stream": (None, orjson.dumps(STREAM)),
    "not_json": (None, f"{{{PROMPT}".encode()),
    "bad_field": (None, orjson.dumps({**CHAT, "stream": PROMPT})),
    "bad_messages": (None, orjson.dumps({**CHAT, "messages": PROMPT})),
    "unknown_model": (None, orjson.dumps({**CHAT, "model": CANARY})),
    "nested_deeply": (None, orjson.dumps(CHAT)[:-1] + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}"),
    "too_large": (None, orjson.dumps({**CHAT, "x": "y" * 6000})),
    "refused": (status(400, SAID_BY_LITELLM), orjson.dumps(CHAT)),
    "refused_our_key": (status(401, SAID_BY_LITELLM), orjson.dumps(CHAT)),
    "rate_limited": (status(429, SAID_BY_LITELLM), orjson.dumps(CHAT)),
    "failed": (status(500, SAID_BY_LITELLM), orjson.dumps(CHAT)),
    "junk": (raw(PROMPT.encode(), "text/html"), orjson.dumps(CHAT)),
    "error_event": (cut(FIRST, sse(SAID_BY_LITELLM)), orjson.dumps(STREAM)),
    "cut": (cut(FIRST), orjson.dumps(STREAM)),
    "slow": (silence(FIRST), orjson.dumps(STREAM)),
}


# Requests that never reach a view; each as it follows GET.
MALFORMED = [
    f"/v1/models?key={CANARY} oops HTTP/1.1\r\nHost: x",
    f"/v1/models HTTP/1.1\r\nHost: x\r\nAuthorization Bearer sk-{CANARY}",
    f"/v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-{CANARY}\x01",
    f"/v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: {CANARY}",
    f"/v1/models HTTP/1.1\r\nHost: x\r\nX-Long: {CANARY}{'a' * 20_000}",
    f"/livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-{CANARY}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]


@pytest.fixture
def log() -> Iterator[StringIO]:
    """Everything that is logged, as production writes it, at the level that says most."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    form = logging_config("DEBUG")["formatters"]["json"]
    handler.setFormatter(
        OrjsonFormatter(form["fmt"], rename_fields=form["rename_fields"], timestamp=True)
    )
    handler.addFilter(RequestIdFilter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def watched(settings: Settings, start_asgi: Callable[..., AsgiClient]) -> AsgiClient:
    """A proxy with little patience and little room."""
    hasty = replace(settings, litellm=replace(settings.litellm, timeout_s=0.5))
    return start_asgi(settings=hasty, max_body_bytes=5000)


def lines_of(log: StringIO) -> list[dict[str, Any]]:
    """Return the lines that requests wrote; aiohttp's own are the fake's."""
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if not line["logger"].startswith(("aiohttp", "asyncio"))]


@pytest.mark.parametrize("name", SCENARIOS)
def test_log_of_a_call_has_nothing_of_what_was_said_and_who_said_it(
    watched: AsgiClient, upstream: FakeLiteLLM, make_key: MakeKey, log: StringIO, name: str
) -> None:
    handler, body = SCENARIOS[name]
    upstream.script(*[handler] if handler else [])
    key = make_key(trusted=True)
    headers = {**bearer(key), **CANARY_HEADERS}

    reply = watched.call("POST", f"/v1/chat/completions?q={CANARY}", headers.items(), body)

    lines = lines_of(log)
    assert "http_request" in [line["event"] for line in lines]
    assert {line["request_id"] for line in lines} == {reply.header("x-request-id")}
    said = json.dumps(lines, ensure_ascii=False)
    assert CANARY not in said
    assert key[17:] not in said


def test_log_of_a_call_that_is_given_up_has_nothing_of_what_was_said(
    watched: AsgiClient, upstream: FakeLiteLLM, make_key: MakeKey, log: StringIO
) -> None:
    upstream.script(silence(FIRST))
    headers = {**bearer(make_key()), **CANARY_HEADERS}
    exchange, future = watched.begin(
        "POST", "/v1/chat/completions", headers.items(), orjson.dumps(STREAM)
    )
    watched.run(exchange.wait_for_body(1))
    watched.run(exchange.leave())

    reply = future.result(5)

    lines = lines_of(log)
    assert [line["event"] for line in lines] == [
        "litellm_request",
        "litellm_response",
        "http_request",
    ]
    assert {line["request_id"] for line in lines} == {reply.header("x-request-id")}
    assert CANARY not in json.dumps(lines)


def test_log_of_a_body_that_is_given_up_has_no_error(
    watched: AsgiClient, auth: dict[str, str], log: StringIO
) -> None:
    watched.call("POST", "/v1/chat/completions", auth.items(), [PROMPT.encode(), LEAVE])

    assert [line for line in lines_of(log) if line["level"] in ("WARNING", "ERROR")] == []
    assert CANARY not in log.getvalue()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("GET", f"/v1/models/{CANARY}"),
        ("GET", f"/{CANARY}"),
        ("DELETE", f"/v1/models?key={CANARY}"),
        ("GET", f"/api/admin/models/{CANARY}/info"),
        ("POST", "/api/webhooks/litellm"),
    ],
)
def test_log_of_a_refusal_has_neither_path_nor_key(
    watched: AsgiClient, log: StringIO, method: str, path: str
) -> None:
    headers = {**CANARY_HEADERS, **bearer(f"sk-{CANARY}"), "X-Signature-256": CANARY}

    reply = watched.call(
        method, path, headers.items(), PROMPT.encode() if method == "POST" else b""
    )

    lines = [line for line in lines_of(log) if line["event"] != "webhook_refused"]
    assert [line["event"] for line in lines] == ["http_request"]
    assert lines[0]["status"] == reply.status >= 400
    assert lines[0]["request_id"] == reply.header("x-request-id")
    assert CANARY not in log.getvalue()


def test_log_of_an_unexpected_exception_has_its_request(
    start_asgi: Callable[..., AsgiClient], log: StringIO
) -> None:
    def add_broken_view(app: SolarisFlask) -> None:
        @app.get("/broken")
        async def broken() -> str:
            raise ZeroDivisionError

    reply = start_asgi(add_broken_view).call("GET", "/broken", [("X-Anything", CANARY)])

    lines = lines_of(log)
    assert [line["event"] for line in lines] == ["unhandled_exception", "http_request"]
    assert {line["request_id"] for line in lines} == {reply.header("x-request-id")}
    assert "ZeroDivisionError" in lines[0]["exc_info"]
    assert CANARY not in log.getvalue()


def test_log_of_gunicorn_has_nothing_of_what_was_said_and_who_said_it(
    start_proxy: Callable[..., ProxyServer],
    connect: Callable[[ProxyServer], RawClient],
    upstream: FakeLiteLLM,
    make_key: MakeKey,
) -> None:
    key = make_key(trusted=True)
    proxy = start_proxy(
        workers=1, drain_grace_s=4, env={"LOG_LEVEL": "DEBUG", "LITELLM_TIMEOUT": "1"}
    )
    for presented in (key, f"sk-{CANARY}"):
        headers = {**bearer(presented), **CANARY_HEADERS, "Connection": "close"}
        for handler, body in SCENARIOS.values():
            upstream._script.clear()
            upstream.script(*[handler] if handler else [])
            client = connect(proxy)
            path = f"/v1/chat/completions?q={CANARY}"
            client.send(request_bytes("POST", path, body, headers))
            assert client.read_to_end().startswith(b"HTTP/1.1 ")
    for head in MALFORMED:
        client = connect(proxy)
        client.send(f"GET {head}\r\n\r\n".encode())
        assert client.read_to_end().startswith(b"HTTP/1.1 4")
    upstream.script(silence(FIRST))
    leaver = connect(proxy)
    leaver.send_json("/v1/chat/completions", STREAM, {**bearer(key), **CANARY_HEADERS})
    leaver.read_until(FIRST)
    leaver.vanish()
    time.sleep(0.2)
    proxy.stop()

    lines = [json.loads(line) for line in proxy.log.splitlines()]
    served = [line for line in lines if not line["logger"].startswith(("gunicorn", "asyncio"))]
    assert len([line for line in served if line["event"] == "http_request"]) > 2 * len(SCENARIOS)
    # Of no one request.
    own = {"draining", "audit_checkpoint"}
    assert [line for line in served if not line["request_id"] and line["event"] not in own] == []
    assert CANARY not in proxy.log
    assert key[17:] not in proxy.log
    assert "Traceback" not in proxy.log
