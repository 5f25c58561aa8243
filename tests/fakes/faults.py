"""What a LiteLLM that is ill, or the network before it, does to an answer."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web

from tests.fakes.litellm import Handler, status

EVENT_STREAM = "text/event-stream"
# Waits until what was written has been read; the proxy under watch knows when that is.
Arrived = Callable[[], Awaitable[None]]
ARRIVAL_S = 0.05


async def at_once() -> None:
    """Wait for nothing."""


async def some_time() -> None:
    """Give what was written time to arrive, where nobody can say when it has."""
    await asyncio.sleep(ARRIVAL_S)


def litellm_error(code: int, kind: str, headers: Mapping[str, str] | None = None) -> Handler:
    """Refuse as LiteLLM 1.106.2 does, whose texts quote what nobody outside may read."""
    message = "litellm.Router at http://10.0.0.7:4000 with sk-internal-0123 said: Messages: [oi]"
    error = {"message": message, "type": kind, "param": None, "code": str(code)}
    return status(code, {"error": error}, dict(headers or {}))


def rate_limited(seconds: str) -> Handler:
    """Pass on a provider's 429: its Retry-After has another name then."""
    return litellm_error(429, "throttling_error", {"llm_provider-retry-after": seconds})


def budget_exceeded() -> Handler:
    return litellm_error(422, "budget_exceeded")


def in_pieces(
    pieces: Iterable[bytes], arrived: Arrived, *, content_type: str = EVENT_STREAM
) -> Handler:
    """Send each piece when the one before has been read, so that it comes by itself."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, {"Content-Type": content_type})
        for piece in pieces:
            await response.write(piece)
            await arrived()
        await response.write_eof()
        return response

    return handler


def compressed(pieces: Iterable[bytes], *, content_type: str = EVENT_STREAM) -> Handler:
    """Send gzip, though it was asked not to; each piece can be unpacked as it comes."""
    return encoded(gzipped(pieces), "gzip", content_type=content_type)


def gzipped(pieces: Iterable[bytes]) -> list[bytes]:
    """Return one gzip of all pieces, cut so that each can be unpacked as it comes."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*packed, packer.flush()]


def encoded(
    pieces: Iterable[bytes],
    encoding: str,
    arrived: Arrived = at_once,
    *,
    content_type: str = EVENT_STREAM,
) -> Handler:
    """Send these bytes and say that they are packed so, whether they are or not."""
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, headers)
        for piece in pieces:
            await response.write(piece)
            await arrived()
        await response.write_eof()
        return response

    return handler


def after(seconds: float, handler: Handler) -> Handler:
    """Answer late."""

    async def late(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await handler(request)

    return late


def whole_on_the_wire(content: bytes, content_type: str = "application/json") -> bytes:
    """Return a whole answer as it is on the wire, status line and all."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def stream_on_the_wire(pieces: Iterable[bytes]) -> bytes:
    """Return a stream as it is on the wire, a chunk for each piece."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {EVENT_STREAM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join([head.encode(), *chunks, b"0\r\n\r\n"])


def on_the_wire(*pieces: bytes, arrived: Arrived = at_once) -> Handler:
    """Write these bytes in place of an answer, then close the connection."""

    async def handler(request: web.Request) -> web.StreamResponse:
        for piece in pieces:
            _transport(request).write(piece)
            await arrived()
        return await _closed(request)

    return handler


def dripping(content: bytes, *, after: bytes = b"", pause_s: float) -> Handler:
    """Write in place of an answer: ``after`` at once, ``content`` byte by byte; then close."""

    async def handler(request: web.Request) -> web.StreamResponse:
        _transport(request).write(after)
        for byte in content:
            _transport(request).write(bytes([byte]))
            await asyncio.sleep(pause_s)
        return await _closed(request)

    return handler


def reset(*pieces: bytes, arrived: Arrived = some_time) -> Handler:
    """Write these bytes in place of an answer, then break the connection with a reset (RST)."""

    async def handler(request: web.Request) -> web.StreamResponse:
        transport = _transport(request)
        for piece in pieces:
            transport.write(piece)
            await arrived()
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        transport.abort()
        return await _closed(request)

    return handler


async def _begin(request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    return response


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("the proxy has left")
    return request.transport


async def _closed(request: web.Request) -> web.StreamResponse:
    """Return, when the connection is closed, what aiohttp wants of a handler; nothing is sent."""
    _transport(request).close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return web.Response()
