from __future__ import annotations

import socket

from app.embedded.network import free_port


def test_port_that_is_preferred_and_free_is_given() -> None:
    port = free_port()

    assert free_port(port) == port


def test_port_that_is_taken_is_not_given() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])

        assert free_port(port) != port


def test_port_that_is_promised_to_another_is_not_given() -> None:
    port = free_port()

    assert free_port(port, avoid=frozenset({port})) != port
