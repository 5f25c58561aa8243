"""What gunicorn makes for each connection is freed with it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.config.settings import Settings
from bench.watched_app import HELD_PATH
from tests.servers import ProxyServer
from tests.waiting import wait_until

CONNECTIONS = 100


class WatchedServer(ProxyServer):
    """As `solaris serve`, with a view that tells what its worker holds."""

    command = ("gunicorn", "--config", "gunicorn.conf.py", "bench.watched_app:create()")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))


@pytest.fixture
def watched(settings: Settings, tmp_path: Path) -> Iterator[WatchedServer]:
    server = WatchedServer(settings, tmp_path, {"WORKERS": "1"})
    server.start()
    yield server
    server.stop()


@pytest.fixture
def asking(watched: WatchedServer) -> Iterator[httpx.Client]:
    """One connection for all looks: it is the one that stays."""
    with httpx.Client(base_url=watched.url, timeout=10) as client:
        yield client


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing sent"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", id="answered"),
        pytest.param(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n", id="half a header"),
    ],
)
def test_connections_that_have_ended_leave_nothing_in_memory(
    watched: WatchedServer, asking: httpx.Client, sent: bytes
) -> None:
    wait_until(lambda: in_memory(asking) == 1)

    connections = [watched.connect() for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.sendall(sent)
    wait_until(lambda: in_memory(asking) > CONNECTIONS)
    for connection in connections:
        connection.close()

    wait_until(lambda: in_memory(asking) == 1)


def in_memory(asking: httpx.Client) -> int:
    return int(asking.get(HELD_PATH).json()["connections"])
