"""One request as plain WSGI in a thread, for views that are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from app.serving.loop_request import Send

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ThreadRequest:
    """Runs a WSGI application and sends what it yields through the loop, with back-pressure."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self._loop = loop
        self._send = send
        self._start: dict[str, Any] | None = None

    def run(self, app: WsgiApp, environ: dict[str, Any]) -> None:
        chunks = app(environ, self._start_response)
        try:
            for chunk in chunks:
                self._send_body(chunk, more=True)
            self._send_body(b"", more=False)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], _exc_info: object = None
    ) -> Callable[[bytes], object]:
        self._start = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers],
        }
        return lambda data: self._send_body(data, more=True)

    def _send_body(self, chunk: bytes, *, more: bool) -> None:
        # The headers go out with the first chunk: until then an error may still replace them.
        if self._start is not None:
            start, self._start = self._start, None
            self._wait(start)
        self._wait({"type": "http.response.body", "body": chunk, "more_body": more})

    def _wait(self, message: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(self._sent(message), self._loop).result()

    async def _sent(self, message: dict[str, Any]) -> None:
        await self._send(message)
