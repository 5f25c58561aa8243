"""Many requests in one process: none sees another's, and all share one way to LiteLLM."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import orjson
from flask import g, request
from flask.testing import FlaskClient

from app import create_app, extensions
from app.config.settings import Settings
from app.extensions import services_of
from app.serving.flask_app import SolarisFlask
from app.utils.json_logging import request_id_var
from tests.asgi_client import AsgiClient, Reply
from tests.fakes.litellm import FakeLiteLLM

REQUESTS = 200
READS = 5
CONCURRENT = 16

CHAT = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "oi"}]})


def add_watching_views(app: SolarisFlask) -> None:
    """Views that read what is theirs again and again while others run."""

    def read() -> list[Any]:
        return [g.word, request.args["word"], g.request_id, request_id_var.get()]

    @app.get("/async")
    async def watching_on_the_loop() -> list[Any]:
        g.word = request.args["word"]
        reads = []
        for _ in range(READS):
            await asyncio.sleep(random.random() / 50)
            reads.append(read())
        return reads

    @app.get("/sync")
    def watching_in_a_thread() -> list[Any]:
        g.word = request.args["word"]
        reads = []
        for _ in range(READS):
            time.sleep(random.random() / 500)
            reads.append(read())
        return reads


def call_all(client: AsgiClient, paths: list[str]) -> list[Reply]:
    async def gather() -> list[Reply]:
        exchanges = [client.exchange("GET", path) for path in paths]
        return await asyncio.gather(*(exchange.run() for exchange in exchanges))

    return client.run(gather())


def assert_each_saw_only_its_own(replies: list[Reply]) -> None:
    for number, reply in enumerate(replies):
        own_id = reply.header("x-request-id")
        own = [str(number), str(number), own_id, own_id]
        assert orjson.loads(reply.body) == [own] * READS
    assert len({reply.header("x-request-id") for reply in replies}) == len(replies)


def test_concurrent_async_requests_see_only_their_own(
    start_asgi: Callable[..., AsgiClient],
) -> None:
    client = start_asgi(add_watching_views)

    replies = call_all(client, [f"/async?word={number}" for number in range(REQUESTS)])

    assert_each_saw_only_its_own(replies)


def test_concurrent_requests_of_both_kinds_see_only_their_own(
    start_asgi: Callable[..., AsgiClient],
) -> None:
    client = start_asgi(add_watching_views)
    kinds = ("async", "sync")

    replies = call_all(client, [f"/{kinds[n % 2]}?word={n}" for n in range(REQUESTS)])

    assert_each_saw_only_its_own(replies)


def test_loop_after_requests_has_no_request_of_theirs(
    start_asgi: Callable[..., AsgiClient],
) -> None:
    client = start_asgi(add_watching_views)
    call_all(client, ["/async?word=1", "/sync?word=2"])

    async def left_over() -> tuple[bool, str | None]:
        return bool(request), request_id_var.get()

    assert client.run(left_over()) == (False, None)


def test_concurrent_calls_share_one_session_and_few_connections(
    start_asgi: Callable[..., AsgiClient], auth: dict[str, str], upstream: FakeLiteLLM
) -> None:
    client = start_asgi()
    service = services_of(client.server.app).litellm

    async def call(left: list[int]) -> set[tuple[int, int]]:
        seen = set()
        while left:
            left.pop()
            exchange = client.exchange("POST", "/v1/chat/completions", auth.items(), CHAT)
            status = (await exchange.run()).status
            seen.add((status, id(service._gateway._transport.session())))
        return seen

    async def call_in_turns() -> list[set[tuple[int, int]]]:
        left = list(range(REQUESTS))
        return await asyncio.gather(*(call(left) for _ in range(CONCURRENT)))

    seen = set().union(*client.run(call_in_turns()))

    assert len(seen) == 1
    assert {status for status, _ in seen} == {200}
    assert len(upstream.calls) == REQUESTS
    assert len({call.peer for call in upstream.calls}) <= CONCURRENT


def test_sequential_calls_over_wsgi_share_one_connection(
    client: FlaskClient, auth: dict[str, str], upstream: FakeLiteLLM
) -> None:
    for _ in range(REQUESTS):
        client.post("/v1/chat/completions", data=CHAT, headers=auth)

    assert len(upstream.calls) == REQUESTS
    assert len({call.peer for call in upstream.calls}) == 1


def test_two_apps_in_one_process_have_services_of_their_own(settings: Settings) -> None:
    apps = [create_app(settings), create_app(settings)]

    def bound(app: SolarisFlask) -> set[int]:
        with app.app_context():
            return {
                id(extensions.access._get_current_object()),  # type: ignore[attr-defined]
                id(extensions.litellm._get_current_object()),  # type: ignore[attr-defined]
                id(extensions.readiness._get_current_object()),  # type: ignore[attr-defined]
            }

    assert bound(apps[0]).isdisjoint(bound(apps[1]))


def test_two_apps_on_their_own_loops_both_answer(
    start_asgi: Callable[..., AsgiClient], auth: dict[str, str]
) -> None:
    clients = [start_asgi(), start_asgi()]

    replies = [
        client.call("POST", "/v1/chat/completions", auth.items(), CHAT)
        for client in (*clients, *clients)
    ]

    assert [reply.status for reply in replies] == [200] * 4
