"""A worker that is told to stop lets streams finish, ends the others properly, and goes."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.fakes.litellm import (
    FakeLiteLLM,
    endless,
    openai_events,
    silence,
    stream,
)
from tests.raw_http import RawClient, request_bytes, unchunked
from tests.servers import ProxyServer, run_solaris

GRACE_S = 4
# Until a stream is ended: the grace less the margin before gunicorn kills.
STREAMS_END_AFTER_S = GRACE_S - 2
STREAMS = 100

EVENTS = openai_events(["olá", "mundo"], None)
Connect = Callable[[ProxyServer], RawClient]

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "oi"}]}
STREAMED = {**CHAT, "stream": True}


async def read_streams(
    proxy: ProxyServer, auth: dict[str, str], count: int, body: dict[str, Any]
) -> tuple[list[bytes], float]:
    """Open this many streams, send TERM when each has its first bytes, and read them to the end.

    Returns what each had, and when TERM was sent.
    """
    opened = 0
    all_open = asyncio.Event()

    async def one() -> bytes:
        nonlocal opened
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(request_bytes("POST", "/v1/chat/completions", json.dumps(body).encode(), auth))
        first = await reader.readuntil(b"\n\n")
        opened += 1
        if opened == count:
            all_open.set()
        rest = await reader.read()
        writer.close()
        return first + rest

    streams = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.wait_for(all_open.wait(), 20)
    told_at_s = time.monotonic()
    proxy.terminate()
    return await asyncio.gather(*streams), told_at_s


def last_event(raw: bytes) -> bytes:
    body, has_end = unchunked(raw)
    assert has_end, "the answer was cut"
    return body.rstrip().rsplit(b"\n\n", 1)[-1]


def test_term_with_a_hundred_endless_streams_ends_each_with_a_typed_event(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    auth: dict[str, str],
    connect: Connect,
) -> None:
    proxy = start_proxy(workers=2, drain_grace_s=GRACE_S)
    talking, silent = endless(EVENTS[0], pause_s=0.05), silence(EVENTS[0])
    upstream.script(*[talking, silent] * (STREAMS // 2))
    # As nginx keeps them; gunicorn waits for it until the grace is over.
    idle = connect(proxy)
    idle.send(request_bytes("GET", "/livez", b"", {}))
    idle.read_until(b'"ok"')

    answers, told_at_s = asyncio.run(read_streams(proxy, auth, STREAMS, STREAMED))

    assert proxy.wait(told_at_s + GRACE_S + 2 - time.monotonic()) == 0
    errors = [json.loads(last_event(raw).removeprefix(b"data: "))["error"] for raw in answers]
    assert {error["code"] for error in errors} == {"draining"}


def test_term_lets_streams_that_are_nearly_done_finish(
    start_proxy: Callable[..., ProxyServer], upstream: FakeLiteLLM, auth: dict[str, str]
) -> None:
    proxy = start_proxy(workers=2, drain_grace_s=GRACE_S)
    upstream.default = stream(EVENTS, pause_s=0.4)

    answers, _ = asyncio.run(read_streams(proxy, auth, STREAMS, STREAMED))

    assert {last_event(raw) for raw in answers} == {b"data: [DONE]"}
    assert proxy.wait(GRACE_S + 2) == 0


def test_term_during_a_whole_answer_that_is_too_slow_says_so(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    auth: dict[str, str],
    connect: Connect,
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    upstream.script(silence())
    client = connect(proxy)
    client.send_json("/v1/chat/completions", CHAT, auth)
    while not upstream.open_streams:
        time.sleep(0.01)

    proxy.terminate()

    answer = client.read_to_end()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "draining"
    assert proxy.wait(GRACE_S + 2) == 0


def test_term_with_open_streams_refuses_or_answers_new_callers(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    auth: dict[str, str],
    connect: Connect,
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    upstream.script(endless(EVENTS[0], pause_s=0.05))
    client = connect(proxy)
    client.send_json("/v1/chat/completions", STREAMED, auth)
    client.read_until(EVENTS[0])

    proxy.terminate()

    outcomes: list[str] = []
    while "refused" not in outcomes and len(outcomes) < 100:
        outcomes.append(outcome_of(f"{proxy.url}/livez"))
        time.sleep(0.02)
    assert set(outcomes) <= {"200", "refused"}
    assert outcomes[-1] == "refused"


def test_stream_begun_on_a_kept_connection_after_term_ends_with_a_typed_event(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    auth: dict[str, str],
    connect: Connect,
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    upstream.default = endless(EVENTS[0], pause_s=0.05)
    client = connect(proxy)
    client.send(request_bytes("GET", "/livez", b"", {}))
    client.read_until(b'"ok"')
    proxy.terminate()
    time.sleep(0.3)

    client.send_json("/v1/chat/completions", STREAMED, auth)

    assert b'"code":"draining"' in client.read_to_end()


def test_idle_connection_on_term_does_not_hold_the_worker(
    start_proxy: Callable[..., ProxyServer], connect: Connect
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=60)
    client = connect(proxy)
    client.send(request_bytes("GET", "/livez", b"", {}))
    client.read_until(b'"ok"')

    proxy.terminate()

    assert proxy.wait(20) == 0
    assert "Worker exiting" in proxy.log


def test_drained_stream_is_logged_as_drained(
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
    auth: dict[str, str],
    connect: Connect,
) -> None:
    proxy = start_proxy(workers=1, drain_grace_s=GRACE_S)
    upstream.default = endless(EVENTS[0], pause_s=0.05)
    client = connect(proxy)
    client.send_json("/v1/chat/completions", STREAMED, auth)
    client.read_until(b"data:")

    proxy.terminate()
    client.read_to_end()

    assert proxy.wait(GRACE_S + 5) == 0
    lines = [json.loads(line) for line in proxy.log.splitlines()]
    assert [line["error"] for line in lines if line["event"] == "litellm_error"] == ["draining"]


def test_drain_command_turns_readiness_off_and_on_again(
    start_proxy: Callable[..., ProxyServer],
) -> None:
    proxy = start_proxy(workers=1)
    before = outcome_of(f"{proxy.url}/readyz")
    draining = run_solaris(proxy.environment, "drain")
    during = outcome_of(f"{proxy.url}/readyz")
    alive = outcome_of(f"{proxy.url}/livez")
    ready = run_solaris(proxy.environment, "drain", "--off")

    after = outcome_of(f"{proxy.url}/readyz")

    assert (draining.stdout, ready.stdout) == ("draining\n", "ready\n")
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
