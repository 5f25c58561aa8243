"""The load of whole answers: clients that each ask again as soon as they have been answered.

Raw protocols instead of a client library: the generator shares a core with the mock upstream and
must not be what limits the servers under test.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from bench import wire

HOST = "127.0.0.1"
MAX_ERRORS = 20
# How long an answer that was asked for before the end is waited for.
PATIENCE_S = 30.0

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_GOOD = b"HTTP/1.1 200"


@dataclass(slots=True)
class Tally:
    """What the clients of one measurement have seen together."""

    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    first_error: str = ""
    elapsed_s: float = 0.0

    @property
    def calls(self) -> int:
        return len(self.latencies_s)

    @property
    def rate(self) -> float:
        return self.calls / self.elapsed_s if self.elapsed_s else 0.0

    def fail(self, what: bytes | str) -> None:
        self.errors += 1
        self.first_error = self.first_error or str(what[:400])


class Caller(asyncio.Protocol):
    """One client on one connection."""

    def __init__(self, request: bytes, tally: Tally, until_s: float) -> None:
        self._request = request
        self._tally = tally
        self._until_s = until_s
        self._received = b""
        self._asked_at_s = 0.0
        self._transport: asyncio.WriteTransport
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have no part in asyncio's class tree.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._ask(time.perf_counter())

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if not _is_whole(self._received):
            return
        now_s = time.perf_counter()
        if self._received.startswith(_GOOD):
            self._tally.latencies_s.append(now_s - self._asked_at_s)
        else:
            self._tally.fail(self._received)
        self._received = b""
        if now_s < self._until_s and self._tally.errors < MAX_ERRORS:
            self._ask(now_s)
        else:
            self._finish()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.finished.done():
            self._tally.fail("the connection was closed")
            self._finish()

    def _ask(self, now_s: float) -> None:
        self._asked_at_s = now_s
        self._transport.write(self._request)

    def _finish(self) -> None:
        self.finished.set_result(None)
        self._transport.close()


async def run_calls(port: int, requests: Sequence[bytes], *, seconds: float) -> Tally:
    """Have a client for each of ``requests`` ask it for ``seconds``; wait for the last answers."""
    tally = Tally()
    gc.collect()
    gc.freeze()
    gc.disable()
    started_at_s = time.perf_counter()
    until_s = started_at_s + seconds
    try:
        async with asyncio.timeout(seconds + PATIENCE_S):
            await asyncio.gather(*(_client(port, request, tally, until_s) for request in requests))
    except TimeoutError:
        tally.fail("an answer did not come")
    finally:
        gc.enable()
        gc.unfreeze()
    tally.elapsed_s = time.perf_counter() - started_at_s
    return tally


async def _client(port: int, request: bytes, tally: Tally, until_s: float) -> None:
    # A server may close a connection; that counts as an error, and the client goes on.
    while time.perf_counter() < until_s and tally.errors < MAX_ERRORS:
        try:
            _, caller = await asyncio.get_running_loop().create_connection(
                lambda: Caller(request, tally, until_s), HOST, port
            )
        except OSError as fault:
            tally.fail(str(fault))
            continue
        await caller.finished


def _is_whole(answer: bytes) -> bool:
    head_end = answer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    length = _CONTENT_LENGTH.search(answer, 0, head_end)
    if length is None:
        return answer.endswith(wire.LAST_CHUNK)
    return len(answer) >= head_end + 4 + int(length[1])
