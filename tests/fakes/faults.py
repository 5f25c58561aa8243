"""What a LiteLLM that is ill, or the network before it, does to an answer."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Iterable, Mapping

from aiohttp import web

from tests.fakes.litellm import Handler, status

EVENT_STREAM = "text/event-stream"
# So long what was written is given to arrive, and be read, before the next thing happens.
ARRIVAL_S = 0.05
PIECE_PAUSE_S = 0.001


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


def in_pieces(pieces: Iterable[bytes], *, content_type: str = EVENT_STREAM) -> Handler:
    """Send each piece by itself, so late that it is read by itself."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, {"Content-Type": content_type})
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(PIECE_PAUSE_S)
        await response.write_eof()
        return response

    return handler


def compressed(pieces: Iterable[bytes], *, content_type: str = EVENT_STREAM) -> Handler:
    """Send gzip, though it was asked not to; each piece can be unpacked as it comes."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return encoded([*packed, packer.flush()], "gzip", content_type=content_type)


def encoded(pieces: Iterable[bytes], encoding: str, *, content_type: str = EVENT_STREAM) -> Handler:
    """Send these bytes and say that they are packed so, whether they are or not."""
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, headers)
        for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

    return handler


def bomb(size: int, *, content_type: str = "application/json") -> Handler:
    """Send so many bytes of blanks, packed into a thousandth."""
    return encoded([gzip.compress(b" " * size)], "gzip", content_type=content_type)


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


def on_the_wire(content: bytes, *, pause_s: float = 0.0) -> Handler:
    """Write these bytes in place of an answer, then close; with a pause, byte by byte."""

    async def handler(request: web.Request) -> web.StreamResponse:
        for piece in _single_bytes(content) if pause_s else [content]:
            _transport(request).write(piece)
            await asyncio.sleep(pause_s)
        _transport(request).close()
        return _nothing_more(request)

    return handler


def reset(content: bytes = b"") -> Handler:
    """Write these bytes in place of an answer, then break the connection with a reset (RST)."""

    async def handler(request: web.Request) -> web.StreamResponse:
        transport = _transport(request)
        transport.write(content)
        await asyncio.sleep(ARRIVAL_S if content else 0)
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        transport.abort()
        return _nothing_more(request)

    return handler


async def _begin(request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    return response


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("the proxy has left")
    return request.transport


def _single_bytes(content: bytes) -> Iterable[bytes]:
    return (content[index : index + 1] for index in range(len(content)))


def _nothing_more(request: web.Request) -> web.StreamResponse:
    """Return what aiohttp wants of a handler; the connection is closed, so nothing is sent."""
    assert _transport(request).is_closing()
    return web.Response()
