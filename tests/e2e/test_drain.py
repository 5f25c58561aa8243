"""A worker that is told to stop lets streams finish, ends the others properly, and goes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.config.settings import PROJECT_ROOT
from tests.fakes.litellm import (
    FakeLiteLLM,
    Handler,
    endless,
    openai_events,
    silence,
    stream,
)
from tests.raw_http import RawClient, request_bytes, unchunked
from tests.servers import ProxyServer

GRACE_S = 4
# Until a stream is ended: the grace less the margin before gunicorn kills.
STREAMS_END_AFTER_S = GRACE_S - 2
STREAMS = 100

EVENTS = openai_events(["olá", "mundo"], None)
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "oi"}]}
STREAMED = {**CHAT, "stream": True}


async def read_streams(
    proxy: ProxyServer, auth: dict[str, str], count: int, body: dict[str, Any]
) -> list[bytes]:
    """Open this many streams, send TERM when each has its first bytes, and read them to the end."""
    opened = 0
    all_open = asyncio.Event()

    async def one() -> bytes:
        nonlocal opened
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(
            request_bytes("POST", "/v1/chat/completions", json.dumps(body).encode(), auth)
        )
        first = await reader.readuntil(b"\n\n")
        opened += 1
        if opened == count:
            all_open.set()
        rest = await reader.read()
        writer.close()
        return first + rest

    streams = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.wait_for(all_open.wait(), 20)
    proxy.terminate()
    return await asyncio.gather(*streams)


def last_event(raw: bytes) -> bytes:
    body, has_end = unchunked(raw)
    assert has_end, "the answer was cut"
    return body.rstrip().rsplit(b"\n\n", 1)[-1]


@pytest.mark.parametrize(
    "handler",
    [endless(EVENTS[0], pause_s=0.05), silence(EVENTS[0])],
    ids=["endless", "silent"],
)
def test_term_with_a_hundred_endless_streams_ends_each_with_a_typed_event(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    auth: dict[str, str],
    handler: Handler,
) -> None:
    proxy = start_proxy(workers=2, drain_grace_s=GRACE_S)
    upstream.default = handler
    started_s = time.monotonic()

    ends = [last_event(raw) for raw in asyncio.run(read_streams(proxy, auth, STREAMS, STREAMED))]

    assert proxy.wait(GRACE_S + 2) == 0
    assert time.monotonic() - started_s < GRACE_S + 2 + 5  # with the time to open them
    assert {json.loads(end.removeprefix(b"data: "))["error"]["code"] for end in ends} == {
        "draining"
    }


def test_term_ends_within_the_grace_and_two_seconds(
    start_proxy: Callable[..., ProxyServer], upstream: FakeLiteLLM, auth: dict[str, str]
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    upstream.default = endless(EVENTS[0], pause_s=0.05)
    client = RawClient(proxy.port)
    client.send_json("/v1/chat/completions", STREAMED, auth)
    client.read_until(EVENTS[0])

    proxy.terminate()

    assert proxy.wait(GRACE_S + 2) == 0


def test_term_lets_streams_that_are_nearly_done_finish(
    start_proxy: Callable[..., ProxyServer], upstream: FakeLiteLLM, auth: dict[str, str]
) -> None:
    proxy = start_proxy(workers=2, drain_grace_s=GRACE_S)
    upstream.default = stream(EVENTS, pause_s=0.4)

    ends = [last_event(raw) for raw in asyncio.run(read_streams(proxy, auth, STREAMS, STREAMED))]

    assert set(ends) == {b"data: [DONE]"}
    assert proxy.wait(GRACE_S + 2) == 0


def test_term_during_a_whole_answer_that_is_too_slow_says_so(
    start_proxy: Callable[..., ProxyServer], upstream: FakeLiteLLM, auth: dict[str, str]
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    upstream.script(silence())
    client = RawClient(proxy.port)
    client.send_json("/v1/chat/completions", CHAT, auth)
    while not upstream.open_streams:
        time.sleep(0.01)

    proxy.terminate()

    answer = client.read_to_end()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "draining"
    assert proxy.wait(GRACE_S + 2) == 0


def test_term_with_open_streams_refuses_or_answers_new_callers(
    start_proxy: Callable[..., ProxyServer], upstream: FakeLiteLLM, auth: dict[str, str]
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    upstream.script(endless(EVENTS[0], pause_s=0.05))
    client = RawClient(proxy.port)
    client.send_json("/v1/chat/completions", STREAMED, auth)
    client.read_until(EVENTS[0])

    proxy.terminate()

    outcomes = set()
    for _ in range(10):
        outcomes.add(outcome_of(f"{proxy.url}/livez"))
        time.sleep(0.1)
    assert outcomes <= {"200", "refused"}
    assert "refused" in outcomes
    client.leave()


def test_term_with_an_idle_connection_ends_within_the_grace_and_two_seconds(
    start_proxy: Callable[..., ProxyServer],
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    client = RawClient(proxy.port)
    client.send(request_bytes("GET", "/livez", b"", {}))
    client.read_until(b'"ok"')

    proxy.terminate()

    assert proxy.wait(GRACE_S + 2) == 0
    client.leave()


def test_stream_begun_on_a_kept_connection_after_the_drain_ends_with_a_typed_event(
    start_proxy: Callable[..., ProxyServer], upstream: FakeLiteLLM, auth: dict[str, str]
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    upstream.default = endless(EVENTS[0], pause_s=0.05)
    client = RawClient(proxy.port)
    client.send(request_bytes("GET", "/livez", b"", {}))
    client.read_until(b'"ok"')
    proxy.terminate()
    time.sleep(STREAMS_END_AFTER_S + 0.5)

    client.send_json("/v1/chat/completions", STREAMED, auth)

    assert b'"code":"draining"' in client.read_to_end()


def test_drain_command_turns_readiness_off_and_on_again(
    start_proxy: Callable[..., ProxyServer],
) -> None:
    proxy = start_proxy(workers=2)
    before = outcome_of(f"{proxy.url}/readyz")
    draining = solaris(proxy, "drain")
    during = outcome_of(f"{proxy.url}/readyz")
    alive = outcome_of(f"{proxy.url}/livez")
    ready = solaris(proxy, "drain", "--off")

    after = outcome_of(f"{proxy.url}/readyz")

    assert (draining, ready) == ("draining", "ready")
    assert (before, during, alive, after) == ("200", "503", "200", "200")


def outcome_of(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return str(error.code)
    except (urllib.error.URLError, ConnectionError):
        return "refused"


def solaris(proxy: ProxyServer, *arguments: str) -> str:
    """Run the command line with the environment of ``proxy``; return its standard output."""
    command = [Path(sys.executable).with_name("solaris"), *arguments]
    done = subprocess.run(
        command, env=proxy.environment, cwd=PROJECT_ROOT, check=True, capture_output=True
    )
    return done.stdout.decode().strip()
