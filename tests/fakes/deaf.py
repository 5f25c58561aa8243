"""Addresses where somebody seems to listen, and nobody answers."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"


@contextlib.contextmanager
def silent_after_connect() -> Iterator[str]:
    """Yield the URL of a socket where connections are made by the kernel, and never accepted."""
    with _listener(backlog=16) as (_, url):
        yield url


@contextlib.contextmanager
def silent_at_connect() -> Iterator[str]:
    """Yield the URL of a socket whose queue is full: the kernel drops whoever knocks."""
    with contextlib.ExitStack() as held, _listener(backlog=0) as (listener, url):
        for _ in range(8):
            knocking = held.enter_context(socket.socket())
            knocking.settimeout(0.1)
            if knocking.connect_ex(listener.getsockname()) != 0:
                break
        yield url


@contextlib.contextmanager
def hangs_up() -> Iterator[tuple[str, list[object]]]:
    """Yield the URL of a server that resets every connection as soon as a request comes, and the
    list of whom it has done that to."""
    peers: list[object] = []
    with _listener(backlog=16) as (listener, url):
        thread = threading.Thread(target=_reset_all, args=(listener, peers), daemon=True)
        thread.start()
        yield url, peers
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@contextlib.contextmanager
def _listener(backlog: int) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(backlog)
        yield listener, f"http://{HOST}:{listener.getsockname()[1]}"


def _reset_all(listener: socket.socket, peers: list[object]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, peer = listener.accept()
            peers.append(peer)
            connection.recv(1, socket.MSG_PEEK)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
