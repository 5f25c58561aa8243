"""`python -m bench.upstream PORT`: the mock provider that every contender calls.

A real HTTP server, as cheap as Python can make one: canned answers, and one wheel that paces all
streams, because thousands of sleeps would themselves be the bottleneck.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import sys
from typing import cast

import orjson
import uvloop

from bench import wire

BACKLOG = 4096
TICK_S = 0.001
TICKS_PER_CHUNK = round(1 / wire.CHUNKS_PER_S / TICK_S)

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ASKS_FOR_STREAM = re.compile(rb'"stream": ?true')
_CHAT_ANSWER = wire.chat_answer()
# Readiness, and the list of models: the free endpoints that a proxy may ask.
_FREE_ANSWER = wire.json_answer(
    {"status": "healthy", "object": "list", "data": [{"id": wire.MODEL, "object": "model"}]}
)


class Stream:
    """One streamed answer, sent event by event."""

    def __init__(self, transport: asyncio.WriteTransport, request: bytes) -> None:
        body = orjson.loads(request)
        self._transport = transport
        self._number = int(body["messages"][-1]["content"])
        self._chunks = int(body["max_tokens"])
        self._with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._sent = 0

    def begin(self) -> None:
        self._transport.write(wire.STREAM_HEAD + self._next_chunk())

    def send_next(self) -> bool:
        """Send what is due; tell whether more is to come."""
        if self._transport.is_closing():
            return False
        if self._sent < self._chunks:
            self._transport.write(self._next_chunk())
            return True
        last = wire.last_events(self._number, self._chunks, with_usage=self._with_usage)
        self._transport.write(_chunk(last) + wire.LAST_CHUNK)
        return False

    def _next_chunk(self) -> bytes:
        event = wire.content_event(self._number, self._sent)
        self._sent += 1
        return _chunk(event)


class Wheel:
    """Paces every stream with one timer: a slot a millisecond, each due once in a turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: list[list[Stream]] = [[] for _ in range(TICKS_PER_CHUNK)]
        self._started_at_s = loop.time()
        self._tick = 0
        self._streams = 0

    def add(self, stream: Stream) -> None:
        """Have ``stream`` send its next chunk one turn from now."""
        if self._streams == 0:
            self._tick = self._ticks_due()
            self._wait()
        self._streams += 1
        self._slots[self._tick % TICKS_PER_CHUNK].append(stream)

    def _ticks_due(self) -> int:
        return int((self._loop.time() - self._started_at_s) / TICK_S)

    def _wait(self) -> None:
        self._loop.call_at(self._started_at_s + (self._tick + 1) * TICK_S, self._turn)

    def _turn(self) -> None:
        # A late timer makes up for the ticks it has missed.
        for tick in range(self._tick + 1, self._ticks_due() + 1):
            self._tick = tick
            self._send_slot(tick % TICKS_PER_CHUNK)
        if self._streams:
            self._wait()

    def _send_slot(self, slot: int) -> None:
        before = self._slots[slot]
        if before:
            self._slots[slot] = [stream for stream in before if stream.send_next()]
            self._streams -= len(before) - len(self._slots[slot])


class UpstreamProtocol(asyncio.Protocol):
    """One connection of a contender's."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._unread = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have no part in asyncio's class tree.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        unread = self._unread + data if self._unread else data
        while (head_end := unread.find(b"\r\n\r\n")) >= 0:
            length = _CONTENT_LENGTH.search(unread, 0, head_end)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(unread) < end:
                break
            self._answer(unread[:end], head_end + 4)
            unread = unread[end:]
        self._unread = unread

    def _answer(self, request: bytes, body_start: int) -> None:
        if not request.startswith(b"POST "):
            self._transport.write(_FREE_ANSWER)
        elif _ASKS_FOR_STREAM.search(request, body_start):
            stream = Stream(self._transport, request[body_start:])
            stream.begin()
            self._wheel.add(stream)
        else:
            self._transport.write(_CHAT_ANSWER)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    server = await loop.create_server(
        lambda: UpstreamProtocol(wheel), "127.0.0.1", port, backlog=BACKLOG
    )
    gc.freeze()
    await server.serve_forever()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def main() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
