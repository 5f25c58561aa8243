"""One request on the event loop: Flask's own steps, awaited, and the answer sent as it comes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from typing import Any, cast

from flask import Flask, Response
from flask.ctx import RequestContext
from flask.signals import request_started
from werkzeug.exceptions import RequestEntityTooLarge

from app.serving.admission import AdmissionGate
from app.serving.body import AsyncBody
from app.serving.environ import set_body
from app.utils.exceptions import DrainingError, OverloadedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsyncView = Callable[..., Awaitable[Any]]

# A body over the limit is read to here and thrown away: who is cut off while sending never sees
# the 413, and tries again.
DISCARD_FACTOR = 4
DISCARD_BYTES = 16 * 1024 * 1024
# Of a view that takes less than others.
LIMIT_ATTRIBUTE = "max_body_bytes"


class ClientLeftError(BaseException):
    """The caller closed the connection before the whole request was here.

    Like a cancellation, it is for no error handler: there is nobody to answer.
    """


class LoopContext(RequestContext):
    """A request context that may be matched before it is pushed, and is matched only once."""

    def match_request(self) -> None:
        if self.request.url_rule is None and self.request.routing_exception is None:
            super().match_request()

    @property
    def needs_thread(self) -> bool:
        """Tell whether the view is a plain function, which might block the loop."""
        rule = self.request.url_rule
        if rule is None or self.needs_no_view:
            return False
        return not inspect.iscoroutinefunction(self.app.view_functions[rule.endpoint])

    @property
    def needs_no_view(self) -> bool:
        """Tell whether Flask answers by itself: a routing error, or the automatic OPTIONS."""
        rule = self.request.url_rule
        is_automatic = getattr(rule, "provide_automatic_options", False)
        return rule is None or (is_automatic and self.request.method == "OPTIONS")


class LoopRequest:
    """Serves one request; cancelled when its caller leaves, told when the worker drains."""

    def __init__(
        self,
        app: Flask,
        context: LoopContext,
        receive: Receive,
        send: Send,
        gate: AdmissionGate,
        *,
        needs_slot: bool,
    ) -> None:
        self._app = app
        self._context = context
        self._receive = receive
        self._send = send
        self._gate = gate
        self._needs_slot = needs_slot
        self._task = asyncio.current_task()
        self._client_left = False
        self._is_draining = False
        self._open_body: AsyncBody | None = None
        self._farewell = b""

    def drain(self) -> None:
        """End now: a stream with its farewell, anything else with an error."""
        if not self._is_draining and self._task is not None:
            self._is_draining = True
            if self._open_body is not None:
                # Before the cancellation, so that the stream knows why it ends.
                self._farewell = self._open_body.farewell()
            self._task.cancel()

    async def serve(self) -> None:
        """Run Flask's `wsgi_app`, with its steps in its order, on the loop."""
        error: BaseException | None = None
        self._context.push()
        with ExitStack() as held:
            try:
                try:
                    response = await self._full_dispatch(held)
                except Exception as fault:  # noqa: BLE001  # as Flask's wsgi_app: its handlers decide
                    error = fault
                    response = self._app.handle_exception(fault)
                await self._respond(response)
            except ClientLeftError:
                pass
            except asyncio.CancelledError as cancelled:
                error = cancelled
                if not self._client_left:
                    raise
            except Exception as fault:
                # The answer has begun: all that is left is to cut it, so that it cannot be taken
                # for complete. The server does that when the application raises.
                error = fault
                raise
            finally:
                self._context.pop(error)

    async def _full_dispatch(self, held: ExitStack) -> Response:
        try:
            rv: Any = await self._dispatch(held)
        except asyncio.CancelledError:
            if not self._is_draining:
                raise
            self._uncancel()
            rv = self._app.handle_user_exception(DrainingError())
        except Exception as fault:  # noqa: BLE001  # as Flask's full_dispatch_request
            rv = self._app.handle_user_exception(fault)
        return self._app.finalize_request(rv)

    async def _dispatch(self, held: ExitStack) -> Any:
        refusal = await self._admit(held)
        watch = asyncio.create_task(self._notice_departure(), name="client-watch")
        held.callback(watch.cancel)
        app, request = self._app, self._context.request
        request_started.send(app, _async_wrapper=app.ensure_sync)
        rv = app.preprocess_request()
        if rv is not None:
            return rv
        if refusal is not None:
            raise refusal
        rule = request.url_rule
        if rule is None or self._context.needs_no_view:
            return app.dispatch_request()  # nothing that waits
        view = cast("AsyncView", app.view_functions[rule.endpoint])
        return await view(**(request.view_args or {}))

    async def _admit(self, held: ExitStack) -> Exception | None:
        """Take a slot and read the body. What stands against it is returned, not raised: hooks
        run first, as in Flask, where the body is read later."""
        try:
            if self._needs_slot:
                held.enter_context(self._gate.slot())
            await self._read_body(held)
        except asyncio.CancelledError:
            if not self._is_draining:
                raise
            self._uncancel()
            return DrainingError()
        except (OverloadedError, RequestEntityTooLarge) as refusal:
            return refusal
        return None

    async def _read_body(self, held: ExitStack) -> None:
        """Read the body into the environ. Raises: RequestEntityTooLarge, OverloadedError."""
        limit = self._limit_bytes()
        most_discarded = max(limit * DISCARD_FACTOR, DISCARD_BYTES)
        declared = self._declared_bytes()
        chunks: list[bytes] = []
        size = 0
        has_more = declared <= most_discarded
        while has_more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError()
            chunk, has_more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > most_discarded:
                break
            # Of what is too large nothing is kept, once that is known.
            if max(size, declared) <= limit and chunk:
                self._gate.take_bytes(len(chunk))
                held.callback(self._gate.give_bytes, len(chunk))
                chunks.append(chunk)
        if max(size, declared) > limit:
            raise RequestEntityTooLarge()
        set_body(self._context.request.environ, b"".join(chunks))

    def _limit_bytes(self) -> int:
        request = self._context.request
        view = self._app.view_functions.get(request.endpoint or "")
        own = getattr(view, LIMIT_ATTRIBUTE, None)
        if own is not None:
            # For whoever says what the limit is.
            request.max_content_length = own
        return int(own or self._app.config["MAX_CONTENT_LENGTH"])

    def _declared_bytes(self) -> int:
        """Return what the caller says the body has; nothing where it comes in pieces."""
        return self._context.request.content_length or 0

    async def _notice_departure(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._task is not None:
            self._client_left = True
            self._task.cancel()

    async def _respond(self, response: Response) -> None:
        environ = self._context.request.environ
        body = response.response
        try:
            await self._send(_start_of(response, environ))
            if isinstance(body, AsyncBody) and environ["REQUEST_METHOD"] != "HEAD":
                await self._stream(body)
            else:
                await self._send_all(response, environ)
        finally:
            if isinstance(body, AsyncBody):
                await body.aclose()
            response.close()

    async def _stream(self, body: AsyncBody) -> None:
        last = b""
        self._open_body = body
        try:
            async for chunk in body.chunks:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        except asyncio.CancelledError:
            if not self._is_draining:
                raise
            self._uncancel()
            last = self._farewell
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_all(self, response: Response, environ: dict[str, Any]) -> None:
        """Send a body that is there already; one that is yet to be computed, from a thread."""
        if response.is_sequence:
            body = b"" if _omits_body(response, environ) else response.get_data()
            await self._send({"type": "http.response.body", "body": body})
            return
        iterator = iter(response.get_app_iter(environ))
        while (chunk := await asyncio.to_thread(next, iterator, None)) is not None:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _uncancel(self) -> None:
        if self._task is not None:
            self._task.uncancel()


def _omits_body(response: Response, environ: dict[str, Any]) -> bool:
    """Tell what werkzeug's own `get_app_iter` leaves out."""
    status = response.status_code
    return environ["REQUEST_METHOD"] == "HEAD" or status < 200 or status in (204, 304)


def _start_of(response: Response, environ: dict[str, Any]) -> Message:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.get_wsgi_headers(environ)
    ]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}
