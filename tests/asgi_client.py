"""The server's side of ASGI, in a thread of its own: lifespan, scopes, and what is sent back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from app.asgi import AsgiServer

Message = MutableMapping[str, Any]
T = TypeVar("T")

WAIT_S = 20.0
# In place of a piece of the body: the caller closes the connection there.
LEAVE = b"<the caller leaves>"


@dataclass(frozen=True)
class Reply:
    """What a caller saw. ``is_cut``: the connection broke before the body's end."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_cut: bool = False

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Exchange:
    """One request under way."""

    def __init__(self, server: AsgiServer, scope: Message, body: Iterable[bytes]) -> None:
        self._server = server
        self._scope = scope
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        chunks = list(body) or [b""]
        for index, chunk in enumerate(chunks):
            more = index < len(chunks) - 1
            self._incoming.put_nowait(
                {"type": "http.disconnect"}
                if chunk is LEAVE
                else {"type": "http.request", "body": chunk, "more_body": more}
            )
        self._sent: list[Message] = []
        self._grew = asyncio.Condition()
        self._has_left = False
        self._reads = asyncio.Event()
        self._reads.set()
        self.error: BaseException | None = None

    async def run(self) -> Reply:
        try:
            await self._server(self._scope, self._receive, self._send)
        except Exception as fault:  # noqa: BLE001  # a server cuts the connection, whatever it was
            self.error = fault
        async with self._grew:
            self._grew.notify_all()
        return self.reply()

    async def leave(self) -> None:
        """Close the connection, as a caller does."""
        self._has_left = True
        await self._incoming.put({"type": "http.disconnect"})

    async def stop_reading(self) -> None:
        """Have the server wait for room, from now on."""
        self._reads.clear()

    async def read_on(self) -> None:
        self._reads.set()

    async def wait_for_body(self, count: int) -> None:
        """Wait until this many pieces of the body have been sent."""
        async with self._grew:
            await self._grew.wait_for(lambda: len(self._bodies) >= count or self.error is not None)

    def reply(self) -> Reply:
        start = next((m for m in self._sent if m["type"] == "http.response.start"), None)
        is_complete = any(not message.get("more_body", False) for message in self._bodies)
        raw_headers = start["headers"] if start else []
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in raw_headers]
        body = b"".join(message.get("body", b"") for message in self._bodies)
        return Reply(start["status"] if start else 0, headers, body, not is_complete)

    @property
    def _bodies(self) -> list[Message]:
        return [m for m in self._sent if m["type"] == "http.response.body"]

    async def _receive(self) -> Message:
        if self._has_left and self._incoming.empty():
            return {"type": "http.disconnect"}
        return await self._incoming.get()

    async def _send(self, message: Message) -> None:
        await self._reads.wait()
        async with self._grew:
            self._sent.append(message)
            self._grew.notify_all()


class AsgiClient:
    """Runs an AsgiServer on a loop in a thread, and calls it from the test."""

    def __init__(self, server: AsgiServer) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asgi", daemon=True)
        self._lifespan_in: asyncio.Queue[Message] = asyncio.Queue()
        self._lifespan_out: asyncio.Queue[Message] = asyncio.Queue()
        self._lifespan: concurrent.futures.Future[None] | None = None

    def start(self) -> AsgiClient:
        self._thread.start()
        self._lifespan = asyncio.run_coroutine_threadsafe(self._serve_lifespan(), self._loop)
        self._tell("startup")
        return self

    def stop(self) -> None:
        self._tell("shutdown")
        if self._lifespan is not None:
            self._lifespan.result(WAIT_S)
        self.run(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the server's loop."""
        return self.submit(coroutine).result(WAIT_S)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Have ``coroutine`` run on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] = b"",
    ) -> Reply:
        return self.run(self.exchange(method, path, headers, body).run())

    def begin(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] = b"",
    ) -> tuple[Exchange, concurrent.futures.Future[Reply]]:
        """Start a request and leave it under way."""
        exchange = self.exchange(method, path, headers, body)
        return exchange, self.submit(exchange.run())

    def exchange(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] = b"",
    ) -> Exchange:
        chunks = [body] if isinstance(body, bytes) else list(body)
        raw_path, _, query = path.partition("?")
        raw_headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]
        if chunks != [b""]:
            raw_headers.append((b"content-length", str(sum(map(len, chunks))).encode()))
        if not any(name == b"host" for name, _ in raw_headers):
            raw_headers.append((b"host", b"localhost"))
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(raw_path).decode(),
            "raw_path": raw_path.encode(),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": raw_headers,
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 50000),
        }
        return Exchange(self.server, scope, chunks)

    async def _serve_lifespan(self) -> None:
        await self.server({"type": "lifespan"}, self._lifespan_in.get, self._lifespan_out.put)

    def _tell(self, what: str) -> None:
        self.run(self._lifespan_in.put({"type": f"lifespan.{what}"}))
        message = self.run(self._lifespan_out.get())
        assert message["type"] == f"lifespan.{what}.complete"

    async def _settle(self) -> None:
        """Let what was cancelled end, so that no task is destroyed while it waits."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()
