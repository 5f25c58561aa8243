"""The Flask application on an event loop.

A request whose view is a coroutine function runs on the worker's loop, inside a normal Flask
request context; any other runs as plain WSGI in a thread. `request`, `g`, `url_for`, hooks, error
handlers and teardown behave as in Flask, because Flask's own methods do the work; the context
stays until a streamed answer has ended, as under `stream_with_context`.

A caller who leaves cancels the request's task, so its `finally` blocks run at once. On TERM,
requests go on until `DRAIN_GRACE` − 2 s and are then ended properly: gunicorn kills what is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app import create_app
from app.extensions import services_of
from app.serving import memory
from app.serving.admission import AdmissionGate
from app.serving.environ import build_environ, set_body
from app.serving.flask_app import SolarisFlask
from app.serving.loop_request import LoopContext, LoopRequest, Receive, Send
from app.serving.thread_request import ThreadRequest

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]

# Requests to these blueprints take a slot; health and administration always answer.
GATED_BLUEPRINTS = frozenset({"proxy"})
DRAIN_MARGIN_S = 2.0
# A worker without requests for this long after TERM leaves; one may be on its way until then.
DRAIN_LINGER_S = 1.0
WORKER_POLL_S = 0.1
# So many at once leave memory behind that is worth giving back.
MANY_REQUESTS = 50
# gunicorn keeps what belongs to a connection for three seconds after its end.
REST_AFTER_S = 4.0
THREADS = 8


def create_asgi_app() -> AsgiServer:
    """Make what gunicorn serves; called in each worker, after the fork."""
    return AsgiServer(create_app())


class AsgiServer:
    """The ASGI callable around one application."""

    def __init__(self, app: SolarisFlask) -> None:
        self.app = app
        self.services = services_of(app)
        self._server = self.services.settings.server
        self.gate = AdmissionGate(
            self._server.max_concurrent_requests, self._server.max_buffered_body_bytes
        )
        self._threads: ThreadPoolExecutor | None = None
        self._is_alive: Callable[[], bool] = lambda: True
        self._leave: Callable[[], None] = lambda: None
        self._requests: set[LoopRequest] = set()
        self._watch: asyncio.Task[None] | None = None
        self._was_busy = False
        self._idle_since_s = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            # Refused with a 403; an exception would be a traceback in the log for each attempt.
            await send({"type": "websocket.close"})
        else:
            raise NotImplementedError(f"{scope['type']} connections are not served")

    def watch_worker(self, is_alive: Callable[[], bool], leave: Callable[[], None]) -> None:
        """Learn of TERM from ``is_alive``, since gunicorn's asgi worker tells the application
        nothing; ``leave`` ends the worker when nothing is left to do."""
        self._is_alive = is_alive
        self._leave = leave

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._open()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _open(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="wsgi")
        self.app.background_loop.adopt(asyncio.get_running_loop())
        await self.services.open()
        self._watch = asyncio.create_task(self._drain_when_told(), name="drain-watch")
        memory.prepare()

    async def _close(self) -> None:
        if self._watch is not None and self._watch is not asyncio.current_task():
            self._watch.cancel()
        await self.services.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    async def _drain_when_told(self) -> None:
        while self._is_alive():
            await asyncio.sleep(WORKER_POLL_S)
            self._rest()
        logger.info("draining", extra={"open_requests": len(self._requests)})
        loop = asyncio.get_running_loop()
        drain_at_s = loop.time() + self._server.drain_grace_s - DRAIN_MARGIN_S
        idle_since_s = loop.time()
        while loop.time() - idle_since_s < DRAIN_LINGER_S and loop.time() < drain_at_s + 1:
            await asyncio.sleep(WORKER_POLL_S)
            if self._requests:
                idle_since_s = loop.time()
            if loop.time() >= drain_at_s:
                # Again and again: gunicorn still takes requests on the connections that it has.
                for request in list(self._requests):
                    request.drain()
        # gunicorn would wait for idle connections, which nginx always keeps, until it is killed,
        # and nothing would be closed.
        await self._close()
        self._leave()

    def _rest(self) -> None:
        """Give memory back a while after the last of many requests is over."""
        now_s = asyncio.get_running_loop().time()
        if len(self._requests) >= MANY_REQUESTS:
            self._was_busy = True
        if self._requests:
            self._idle_since_s = now_s
        elif self._was_busy and now_s - self._idle_since_s >= REST_AFTER_S:
            self._was_busy = False
            memory.give_back()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        environ = build_environ(scope)
        context = LoopContext(self.app, environ)
        context.match_request()
        if context.needs_thread:
            await self._in_thread(environ, receive, send)
            return
        request = LoopRequest(
            self.app,
            context,
            receive,
            send,
            self.gate,
            needs_slot=context.request.blueprint in GATED_BLUEPRINTS,
        )
        self._requests.add(request)
        try:
            await request.serve()
        finally:
            self._requests.discard(request)

    async def _in_thread(self, environ: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await self._body(receive)
        if body is None:
            return
        set_body(environ, body)
        loop = asyncio.get_running_loop()
        request = ThreadRequest(loop, send)
        await loop.run_in_executor(self._threads, request.run, self.app, environ)

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the body, cut just above the limit, where Flask refuses it; None: client left."""
        chunks = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            if len(chunks) <= self._server.max_body_bytes:
                chunks += message.get("body", b"")
            if not message.get("more_body", False):
                return bytes(chunks[: self._server.max_body_bytes + 1])
