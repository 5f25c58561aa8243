"""A client made of one socket: it can leave in every way that a real one does."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

TIMEOUT_S = 20.0


class RawClient:
    """One connection to the proxy."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._unread = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_json(self, path: str, body: Any, headers: Mapping[str, str]) -> None:
        self.send(request_bytes("POST", path, json.dumps(body).encode(), headers))

    def read_until(self, mark: bytes) -> bytes:
        """Read until ``mark`` has come, or the connection ends; return everything so far."""
        while mark not in self._unread:
            data = self._socket.recv(65536)
            if not data:
                break
            self._unread += data
        return self._unread

    def read_to_end(self) -> bytes:
        """Read until the server closes the connection; a reset counts as its end."""
        try:
            while data := self._socket.recv(65536):
                self._unread += data
        except ConnectionResetError:
            pass
        return self._unread

    def leave(self) -> None:
        """Close in the orderly way (FIN)."""
        self._socket.close()

    def vanish(self) -> None:
        """Close with a reset (RST), as a killed program or a lost router does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def request_bytes(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def unchunked(raw: bytes) -> tuple[bytes, bool]:
    """Return the body of a chunked answer, and whether its end was there."""
    _, _, rest = raw.partition(b"\r\n\r\n")
    body = b""
    for size, piece, rest_after in _chunks(rest):
        if size == 0:
            return body, True
        if len(piece) < size or not rest_after:
            break
        body += piece
    return body, False


def _chunks(rest: bytes) -> Iterator[tuple[int, bytes, bool]]:
    while b"\r\n" in rest:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head, 16)
        yield size, rest[:size], len(rest) >= size + 2
        rest = rest[size + 2 :]
