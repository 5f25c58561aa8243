"""A kill switch on real workers: one command, and each of them obeys."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import orjson

from tests.fakes.litellm import FakeLiteLLM
from tests.servers import ProxyServer

# Two seconds are promised; the rest is for a machine that has other work.
PROMISED_S, SLACK_S = 2.0, 2.0
CALLS = 40
BODY = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Olá!"}]})


def test_switch_binds_every_worker_within_two_seconds(
    start_proxy: Callable[..., ProxyServer], make_key: Callable[..., str], upstream: FakeLiteLLM
) -> None:
    key = make_key()
    server = start_proxy(workers=2)
    assert call(server, key) == 200

    done = subprocess.run(
        [
            Path(sys.executable).with_name("solaris"),
            *("killswitch", "throw", "--scope", "all", "--reason", "auditoria"),
        ],
        env=server.environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    time.sleep(PROMISED_S + SLACK_S)
    before = len(upstream.calls)
    # A connection each: they fall to either worker.
    statuses = {call(server, key) for _ in range(CALLS)}

    assert b"bloqueio" in done.stderr
    assert statuses == {403}
    assert len(upstream.calls) == before


def call(server: ProxyServer, key: str) -> int:
    """Return the status of a call on a connection of its own."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", BODY, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
