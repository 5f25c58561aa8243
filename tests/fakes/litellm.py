"""A LiteLLM that does what a test says: a real HTTP server on a port of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

USAGE = {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26}


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    peer: Any

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass
class FakeLiteLLM:
    """Answers like LiteLLM until told otherwise; records what it received.

    ``script`` takes handlers for the next calls, one each; after that each model has its own, given
    by ``for_model``, or the default. ``closed_early`` counts calls whose connection ended before
    their answer did.
    """

    models: tuple[str, ...] = ("gpt-4", "gpt-4o")
    default: Handler | None = None
    # Where it listens; 0 is anywhere.
    port: int = 0
    # Without it nobody hears what models there are; None: everybody may.
    master_key: str | None = None
    # What it knows of providers' models, by target.
    cost_map: dict[str, Any] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    open_streams: int = 0
    closed_early: int = 0

    def __post_init__(self) -> None:
        self._script: deque[Handler] = deque()
        self._by_model: dict[str, Handler] = {}
        self._server: web.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-litellm", daemon=True)

    def start(self) -> FakeLiteLLM:
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def script(self, *handlers: Handler) -> None:
        self._script.extend(handlers)

    def for_model(self, model: str, handler: Handler) -> None:
        """Have every call that asks for ``model`` answered by ``handler``."""
        self._by_model[model] = handler

    def attempts(self, model: str) -> int:
        """Return how many calls have asked for ``model``."""
        return sum(_model_in(call.raw) == model for call in self.calls)

    def forget(self) -> None:
        """Be as new: nothing received, nobody to be answered in a way of their own."""
        self._script.clear()
        self._by_model.clear()
        self.received.clear()
        self.closed_early = 0

    @property
    def open_connections(self) -> int:
        return len(self._server.connections) if self._server else 0

    @property
    def used_connections(self) -> int:
        """Return how many connections have ever carried a request."""
        return len({request.peer for request in self.received})

    @property
    def calls(self) -> list[Received]:
        """Return what would have cost money: every POST."""
        return [request for request in self.received if request.method == "POST"]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        # A cut connection must not wait for a handler that sleeps on purpose.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self._port = runner.addresses[0][1]
        self._server = runner.server
        self._ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self.received.append(
            Received(request.method, request.path, dict(request.headers), raw, peer)
        )
        if request.method == "GET":
            return self._free_endpoint(request)
        handler = self._handler_for(raw)
        self.open_streams += 1
        try:
            return await handler(request)
        except (asyncio.CancelledError, ConnectionError):
            self.closed_early += 1
            raise
        finally:
            self.open_streams -= 1

    def _handler_for(self, raw: bytes) -> Handler:
        if self._script:
            return self._script.popleft()
        return self._by_model.get(_model_in(raw)) or self.default or completion()

    def _free_endpoint(self, request: web.Request) -> web.Response:
        if request.path == "/health/readiness":
            return web.json_response({"status": "healthy", "db": "Not connected"})
        if request.path == "/public/litellm_model_cost_map":
            return web.json_response(self.cost_map)
        if request.path == "/health/liveliness":
            return web.json_response("I'm alive!")
        if request.path == "/v1/models" and not self._is_known(request):
            return web.json_response({"error": {"message": "Authentication Error"}}, status=401)
        if request.path == "/v1/models":
            return web.json_response({"object": "list", "data": [{"id": m} for m in self.models]})
        return web.json_response({"error": {"message": "no such page"}}, status=404)

    def _is_known(self, request: web.Request) -> bool:
        bearer = f"Bearer {self.master_key}"
        return self.master_key is None or request.headers.get("Authorization") == bearer


def _model_in(raw: bytes) -> str:
    try:
        body = json.loads(raw)
    except ValueError:
        return ""
    return str(body.get("model")) if isinstance(body, dict) else ""


def completion(text: str = "olá", usage: dict[str, Any] | None = None) -> Handler:
    """Answer as LiteLLM does: whole or streamed, as the request asks."""

    async def handler(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if body.get("stream"):
            return await send_stream(request, openai_events(text.split(), usage or USAGE))
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
            "usage": usage or USAGE,
        }
        return web.json_response(answer)

    return handler


def stream(events: Iterable[bytes], *, pause_s: float = 0.0) -> Handler:
    """Send these bytes, one write each, with a pause before each but the first."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await send_stream(request, events, pause_s=pause_s)

    return handler


def status(code: int, body: Any, headers: dict[str, str] | None = None) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=code, headers=headers)

    return handler


def raw(content: bytes, content_type: str, code: int = 200) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=content_type, status=code)

    return handler


def stalled_json(seconds: float = 60.0) -> Handler:
    """Send the headers and half of a whole answer, then nothing more."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"id": "chatcmpl-1", ')
        await asyncio.sleep(seconds)
        return response

    return handler


def silence(*first: bytes, seconds: float = 60.0) -> Handler:
    """Send these bytes, then nothing more, with the connection open."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if not first:
            await asyncio.sleep(seconds)
        return await send_stream(request, (*first, b""), last_pause_s=seconds)

    return handler


def cut(*first: bytes) -> Handler:
    """Send these bytes, then break the connection without an end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request)
        for event in first:
            await response.write(event)
        await asyncio.sleep(0.05)
        if request.transport is not None:
            request.transport.abort()
        return response

    return handler


def openai_events(words: Iterable[str], usage: dict[str, Any] | None) -> list[bytes]:
    """Return a stream as LiteLLM 1.106.2 sends it; its usage chunk has an empty delta."""
    deltas: list[dict[str, Any]] = [{"delta": {"content": f"{word} "}} for word in words]
    deltas.append({"delta": {}, "finish_reason": "stop"})
    events = [sse({"id": "c1", "choices": [{"index": 0, **delta}]}) for delta in deltas]
    if usage is not None:
        events.append(sse({"id": "c1", "choices": [{"index": 0, "delta": {}}], "usage": usage}))
    return [*events, b"data: [DONE]\n\n"]


def sse(content: Any) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


async def send_stream(
    request: web.Request,
    events: Iterable[bytes],
    *,
    pause_s: float = 0.0,
    last_pause_s: float = 0.0,
) -> web.StreamResponse:
    response = await _begin(request)
    events = list(events)
    for index, event in enumerate(events):
        if index and (
            pause := last_pause_s if index == len(events) - 1 and last_pause_s else pause_s
        ):
            await asyncio.sleep(pause)
        if event:
            await response.write(event)
    await response.write_eof()
    return response


async def _begin(
    request: web.Request, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    kind = {"Content-Type": "text/event-stream; charset=utf-8"}
    response = web.StreamResponse(headers={**kind, **(headers or {})})
    await response.prepare(request)
    return response


def endless(event: bytes, *, pause_s: float, headers: Mapping[str, str] | None = None) -> Handler:
    """Send this event again and again, until the connection is closed."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, headers)
        while True:
            await response.write(event)
            await asyncio.sleep(pause_s)

    return handler
