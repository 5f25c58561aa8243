"""Whoever leaves is no longer paid for: upstream's connection closes with the caller's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine

from app.config.settings import DatabaseSettings, LiteLLMSettings, ServerSettings, Settings
from app.extensions import build_services
from tests.conftest import MASTER_KEY
from tests.fakes.litellm import FakeLiteLLM, Handler, endless, openai_events, silence, sse
from tests.raw_http import RawClient, request_bytes
from tests.servers import ProxyServer

# Promised within 1 s; the other second is the slack of a busy machine.
NOTICED_WITHIN_S = 2.0

FIRST_EVENT = openai_events(["olá"], None)[0]
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "oi"}]}

Connect = Callable[[ProxyServer], RawClient]
Leave = Callable[[RawClient], None]


@dataclass(frozen=True)
class Served:
    proxy: ProxyServer
    upstream: FakeLiteLLM
    auth: dict[str, str]
    connect: Connect

    def begin(self, body: dict[str, Any], handler: Handler) -> RawClient:
        """Start a call, and return when upstream has it."""
        self.upstream.script(handler)
        client = self.connect(self.proxy)
        client.send_json("/v1/chat/completions", body, self.auth)
        assert eventually(lambda: self.upstream.open_streams == 1, 5)
        return client


@pytest.fixture(scope="module")
def shared_proxy(
    lasting_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProxyServer, FakeLiteLLM, str]]:
    """One proxy for the whole file: each caller leaves nothing behind for the next."""
    folder = tmp_path_factory.mktemp("disconnect")
    upstream = FakeLiteLLM().start()
    settings = Settings(
        server=ServerSettings(state_dir=folder / "state", workers=1, drain_grace_s=4),
        database=DatabaseSettings(lasting_database_url, lasting_database_url),
        litellm=LiteLLMSettings(base_url=upstream.url, master_key=MASTER_KEY),
    )
    engine = create_engine(lasting_database_url)
    key, _ = build_services(settings, engine).access.create_key(f"disconnect-{uuid4()}")
    engine.dispose()
    proxy = ProxyServer(settings, folder, {})
    proxy.start()
    yield proxy, upstream, key
    proxy.stop()
    upstream.stop()


@pytest.fixture
def served(shared_proxy: tuple[ProxyServer, FakeLiteLLM, str], connect: Connect) -> Served:
    proxy, upstream, key = shared_proxy
    upstream.received.clear()
    upstream.closed_early = 0
    return Served(proxy, upstream, {"Authorization": f"Bearer {key}"}, connect)


def eventually(holds: Callable[[], bool], within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


@pytest.mark.parametrize("leave", [RawClient.leave, RawClient.vanish], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    ("handler", "seen"),
    [
        (endless(FIRST_EVENT, pause_s=0.02), FIRST_EVENT),
        (silence(FIRST_EVENT), FIRST_EVENT),
        # gunicorn keeps the headers back until the first bytes of the body.
        (silence(b""), b""),
        (silence(), b""),
    ],
    ids=["mid_stream", "silent_after_a_chunk", "silent_after_headers", "silent_before_headers"],
)
def test_caller_who_leaves_a_stream_closes_upstreams_connection(
    served: Served, handler: Handler, seen: bytes, leave: Leave
) -> None:
    client = served.begin({**CHAT, "stream": True}, handler)
    client.read_until(seen)

    leave(client)

    assert eventually(lambda: served.upstream.closed_early == 1, NOTICED_WITHIN_S)


@pytest.mark.parametrize("leave", [RawClient.leave, RawClient.vanish], ids=["FIN", "RST"])
def test_caller_who_leaves_a_whole_answer_closes_upstreams_connection(
    served: Served, leave: Leave
) -> None:
    client = served.begin(CHAT, silence())

    leave(client)

    assert eventually(lambda: served.upstream.closed_early == 1, NOTICED_WITHIN_S)


def test_caller_who_stops_reading_and_leaves_closes_upstreams_connection(served: Served) -> None:
    big_event = sse({"choices": [{"delta": {"content": "x" * 100_000}}]})
    client = served.begin({**CHAT, "stream": True}, endless(big_event, pause_s=0.001))
    client.read_until(b"200 OK")
    time.sleep(1)  # the buffers on the way fill up, and the worker waits for room

    client.leave()

    assert eventually(lambda: served.upstream.closed_early == 1, NOTICED_WITHIN_S)


def test_caller_who_leaves_while_sending_the_body_costs_no_call(served: Served) -> None:
    client = served.connect(served.proxy)
    whole = request_bytes("POST", "/v1/chat/completions", json.dumps(CHAT).encode(), served.auth)
    client.send(whole[:-20])
    time.sleep(0.2)

    client.leave()

    time.sleep(0.2)
    assert served.upstream.calls == []
    assert '"level":"ERROR"' not in served.proxy.log


def test_caller_who_leaves_after_the_end_leaves_upstreams_connection_for_the_next(
    served: Served,
) -> None:
    for _ in range(2):
        client = served.connect(served.proxy)
        client.send_json("/v1/chat/completions", {**CHAT, "stream": True}, served.auth)
        client.read_until(b"\r\n0\r\n\r\n")
        client.leave()

    assert served.upstream.closed_early == 0
    assert len({call.peer for call in served.upstream.calls}) == 1


def test_worker_after_callers_left_has_no_request_open(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    auth: dict[str, str],
    connect: Connect,
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=4)
    for handler, seen in ((silence(), b""), (silence(FIRST_EVENT), FIRST_EVENT)):
        client = Served(proxy, upstream, auth, connect).begin({**CHAT, "stream": True}, handler)
        client.read_until(seen)
        client.leave()
        assert eventually(lambda: upstream.open_streams == 0, NOTICED_WITHIN_S)

    proxy.terminate()

    assert proxy.wait(10) == 0
    said = [json.loads(line) for line in proxy.log.splitlines() if '"draining"' in line]
    assert [line["open_requests"] for line in said] == [0]
