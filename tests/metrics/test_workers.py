"""Counts of several workers, real ones: together, and after one of them is killed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import orjson

from tests.conftest import ADMIN_KEY
from tests.fakes.litellm import FakeLiteLLM, completion
from tests.metrics.scraped import Scraped
from tests.servers import ProxyServer
from tests.waiting import wait_until

CALLS, CLIENTS = 300, 8
NO_LIMIT = {"USER_CONCURRENCY": "0"}
BODY = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Olá!"}]})
CUT = 0


def call(server: ProxyServer, key: str) -> int:
    """Return the status of a call on a connection of its own; CUT where there was none."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", BODY, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except OSError:
        return CUT


def ask(server: ProxyServer, path: str, method: str = "GET") -> str:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    request = urllib.request.Request(f"{server.url}{path}", headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        return bytes(response.read()).decode()


def scrape(server: ProxyServer) -> Scraped:
    return Scraped(ask(server, "/metrics"))


def under_load(
    server: ProxyServer, key: str, at_half: Callable[[], object] = lambda: None
) -> Counter[int]:
    def numbered(number: int) -> int:
        if number == CALLS // 2:
            at_half()
        return call(server, key)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(numbered, range(CALLS)))


def test_two_workers_together_count_what_upstream_saw(
    start_proxy: Callable[..., ProxyServer], make_key: Callable[..., str], upstream: FakeLiteLLM
) -> None:
    upstream.default = completion(usage={"prompt_tokens": 21, "completion_tokens": 5})
    server = start_proxy(workers=2, env=NO_LIMIT)

    statuses = under_load(server, make_key())

    seen, answered = scrape(server), len(upstream.calls)
    assert statuses == {200: CALLS}
    assert seen.value("solaris_requests_total", status="200") == answered == CALLS
    assert seen.value("solaris_tokens_total", kind="input") == 21 * CALLS
    assert seen.value("solaris_workers") == 2
    assert json.loads(ask(server, "/api/admin/metrics"))["total_requests"] == CALLS


def test_reset_holds_on_every_worker(
    start_proxy: Callable[..., ProxyServer], make_key: Callable[..., str]
) -> None:
    server, key = start_proxy(workers=2, env=NO_LIMIT), make_key()
    for _ in range(10):
        call(server, key)

    ask(server, "/api/admin/metrics/reset", "POST")
    call(server, key)

    totals = {json.loads(ask(server, "/api/admin/metrics"))["total_requests"] for _ in range(20)}
    assert totals == {1}
    assert scrape(server).value("solaris_requests_total") == 11


def test_killed_worker_takes_no_more_than_what_was_in_flight_on_it(
    start_proxy: Callable[..., ProxyServer], make_key: Callable[..., str], upstream: FakeLiteLLM
) -> None:
    upstream.default = completion()
    server = start_proxy(workers=2, env=NO_LIMIT)
    victim = server.workers[0]

    statuses = under_load(server, make_key(), victim.kill)

    wait_until(lambda: scrape(server).value("solaris_workers") == 2, 20)
    counted = scrape(server).value("solaris_requests_total")
    assert 0 <= len(upstream.calls) - counted <= CLIENTS
    assert counted >= statuses[200]
    assert victim.pid not in {it.pid for it in server.workers}


def test_counts_begin_anew_with_the_server(
    start_proxy: Callable[..., ProxyServer], make_key: Callable[..., str]
) -> None:
    key = make_key()
    first = start_proxy(workers=1, env=NO_LIMIT)
    call(first, key)
    ask(first, "/api/admin/metrics/reset", "POST")
    first.stop()

    second = start_proxy(workers=1, env=NO_LIMIT)
    call(second, key)

    assert scrape(second).value("solaris_requests_total") == 1
    assert json.loads(ask(second, "/api/admin/metrics"))["total_requests"] == 1
