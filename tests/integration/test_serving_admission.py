"""What a worker takes on, what it refuses, and that nothing taken is ever lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest

from tests.asgi_client import LEAVE, AsgiClient, Exchange, Reply
from tests.conftest import ADMIN_KEY
from tests.fakes.litellm import FakeLiteLLM, Handler, cut, endless, openai_events, silence, status
from tests.raw_http import RawClient
from tests.servers import ProxyServer

StartAsgi = Callable[..., AsgiClient]
Headers = Iterable[tuple[str, str]]

EVENT = openai_events(["olá"], None)[0]
CHAT: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "oi"}]}
STREAM = orjson.dumps({**CHAT, "stream": True})
WHOLE = orjson.dumps(CHAT)

SLOTS = 3
SIXTY_MB = 60 * 1024 * 1024
PIECE = b"x" * (1024 * 1024)


def chat(client: AsgiClient, auth: dict[str, str], body: bytes = WHOLE, *more: bytes) -> Reply:
    return client.call("POST", "/v1/chat/completions", auth.items(), [body, *more])


def open_stream(client: AsgiClient, auth: dict[str, str], body: bytes = STREAM) -> Exchange:
    """Start a stream and wait for its first piece."""
    exchange, _ = client.begin("POST", "/v1/chat/completions", auth.items(), body)
    client.run(exchange.wait_for_body(1))
    return exchange


@pytest.fixture
def full(start_asgi: StartAsgi, auth: dict[str, str], upstream: FakeLiteLLM) -> AsgiClient:
    """A worker with every slot taken by a stream that does not end."""
    upstream.script(*[endless(EVENT, pause_s=0.05)] * SLOTS)
    client = start_asgi(max_concurrent_requests=SLOTS)
    for _ in range(SLOTS):
        open_stream(client, auth)
    return client


def test_call_over_capacity_is_refused_at_once_and_costs_nothing(
    full: AsgiClient, auth: dict[str, str], upstream: FakeLiteLLM
) -> None:
    reply = chat(full, auth)

    assert reply.status == 503
    assert orjson.loads(reply.body)["error"]["code"] == "overloaded"
    assert reply.header("Retry-After") == "1"
    assert reply.header("x-request-id")
    assert len(upstream.calls) == SLOTS


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/api/admin/models/status", "/api/admin/litellm/health"]
)
def test_health_and_administration_over_capacity_answer(full: AsgiClient, path: str) -> None:
    reply = full.call("GET", path, [("Authorization", f"Bearer {ADMIN_KEY}")])

    assert reply.status == 200


def test_call_after_a_stream_was_given_up_is_taken(
    start_asgi: StartAsgi, auth: dict[str, str], upstream: FakeLiteLLM
) -> None:
    upstream.script(silence(EVENT))
    client = start_asgi(max_concurrent_requests=1)
    exchange, future = client.begin("POST", "/v1/chat/completions", auth.items(), STREAM)
    client.run(exchange.wait_for_body(1))
    client.run(exchange.leave())
    future.result(5)

    reply = chat(client, auth)

    assert reply.status == 200


ENDINGS: dict[str, tuple[Handler | None, bytes, tuple[bytes, ...]]] = {
    "whole": (None, WHOLE, ()),
    "stream": (None, STREAM, ()),
    "stream_cut_upstream": (cut(EVENT), STREAM, ()),
    "stream_refused_upstream": (status(500, {}), STREAM, ()),
    "refused_upstream": (status(400, {}), WHOLE, ()),
    "rate_limited_upstream": (status(429, {}), WHOLE, ()),
    "junk_upstream": (status(200, []), WHOLE, ()),
    "bad_body": (None, b"{", ()),
    "unknown_model": (None, WHOLE.replace(b"gpt-4", b"gpt-9"), ()),
    "body_too_large": (None, bytes(3000), ()),
    "body_given_up": (None, b"{", (LEAVE,)),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_call_after_any_ending_finds_slot_and_bytes_free(
    start_asgi: StartAsgi, auth: dict[str, str], upstream: FakeLiteLLM, ending: str
) -> None:
    handler, *body = ENDINGS[ending][0], ENDINGS[ending][1], *ENDINGS[ending][2]
    upstream.script(*[handler] if handler else [])
    client = start_asgi(
        max_concurrent_requests=1, max_body_bytes=2000, max_buffered_body_bytes=len(STREAM) + 10
    )
    chat(client, auth, *body)

    reply = chat(client, auth, STREAM)

    assert reply.status == 200
    assert reply.body.endswith(b"data: [DONE]\n\n")


def test_call_after_unauthenticated_ones_finds_a_slot_free(
    start_asgi: StartAsgi, auth: dict[str, str]
) -> None:
    client = start_asgi(max_concurrent_requests=1)
    refused = [chat(client, {}).status for _ in range(3)]

    reply = chat(client, auth)

    assert (refused, reply.status) == ([401] * 3, 200)


def test_body_at_the_limit_is_taken(start_asgi: StartAsgi, auth: dict[str, str]) -> None:
    client = start_asgi(max_body_bytes=len(WHOLE))

    assert chat(client, auth).status == 200


@pytest.mark.parametrize("size", [1, 5000], ids=["just_over", "far_over"])
def test_body_over_the_limit_is_413(
    start_asgi: StartAsgi, auth: dict[str, str], upstream: FakeLiteLLM, size: int
) -> None:
    client = start_asgi(max_body_bytes=len(WHOLE))

    reply = chat(client, auth, WHOLE, b" " * size)

    assert reply.status == 413
    assert orjson.loads(reply.body)["error"]["code"] == "request_too_large"
    assert reply.header("x-request-id")
    assert upstream.calls == []


@pytest.mark.parametrize("framing", ["content_length", "chunked"])
def test_body_of_sixty_megabytes_is_413_and_read(
    start_proxy: Callable[..., ProxyServer],
    connect: Callable[[ProxyServer], RawClient],
    auth: dict[str, str],
    framing: str,
) -> None:
    client = connect(start_proxy(workers=1, drain_grace_s=4))
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: {auth['Authorization']}"
    )
    count = SIXTY_MB // len(PIECE)
    if framing == "chunked":
        client.send(f"{head}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(count):
            client.send(f"{len(PIECE):x}\r\n".encode() + PIECE + b"\r\n")
        client.send(b"0\r\n\r\n")
    else:
        client.send(f"{head}\r\nContent-Length: {SIXTY_MB}\r\n\r\n".encode())
        for _ in range(count):
            client.send(PIECE)

    answer = client.read_until(b"}}")

    assert answer.startswith(b"HTTP/1.1 413 ")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == "request_too_large"
    assert "50 MB" in error["message"]


def test_body_beyond_the_bytes_in_memory_is_refused_until_there_is_room(
    start_asgi: StartAsgi, auth: dict[str, str], upstream: FakeLiteLLM
) -> None:
    upstream.script(silence(EVENT))
    client = start_asgi(max_buffered_body_bytes=1000)
    big = orjson.dumps({**CHAT, "stream": True, "padding": "x" * 600})
    holder, future = client.begin("POST", "/v1/chat/completions", auth.items(), big)
    client.run(holder.wait_for_body(1))
    while_held = [chat(client, auth, big), chat(client, auth, WHOLE)]
    client.run(holder.leave())
    future.result(5)

    reply = chat(client, auth, big)

    assert [held.status for held in while_held] == [503, 200]
    assert orjson.loads(while_held[0].body)["error"]["code"] == "overloaded"
    assert while_held[0].header("Retry-After") == "1"
    assert reply.status == 200
