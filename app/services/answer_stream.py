"""A streamed answer on its way to the caller: the same bytes, watched as they pass.

What is changed, and nothing else: the usage chunk, which is always asked for upstream, is taken
out when the caller did not ask; an error event of LiteLLM's is replaced by ours, because its text
quotes internals; a stream that breaks off ends with an error event, because every client takes a
clean end without `[DONE]` for a complete answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import orjson

from app.services.litellm_transport import UpstreamAnswer
from app.utils.exceptions import DrainingError, LiteLLMError, SolarisError
from app.utils.sse import EventSplitter, event_data

KEEPALIVE_S = 15.0
KEEPALIVE_COMMENT = b": keep-alive\n\n"


class AnswerStream(AsyncIterator[bytes]):
    """Bytes for the caller; ``usage``, ``error`` and ``is_complete`` tell afterwards what came.

    ``on_end`` is called once, however the stream ends: complete, broken, or given up by the
    caller.
    """

    def __init__(
        self,
        answer: UpstreamAnswer,
        *,
        forward_usage: bool,
        render_error: Callable[[SolarisError], bytes],
        on_end: Callable[[AnswerStream], None],
    ) -> None:
        self._answer = answer
        self._forward_usage = forward_usage
        self._render_error = render_error
        self._on_end = on_end
        self._events = EventSplitter()
        self._has_ended = False
        self._is_finished = False
        self._generator = self._chunks()
        self.usage: dict[str, Any] | None = None
        self.error: SolarisError | None = None
        self.is_complete = False

    def __aiter__(self) -> AnswerStream:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._generator)

    async def aclose(self) -> None:
        """Give the stream up; upstream's connection is closed, also when nothing was read yet."""
        await self._generator.aclose()
        self._finish()

    def farewell(self) -> bytes:
        """Return the event that ends the stream when this worker must stop before it is over."""
        self.error = DrainingError()
        return self._error_event(self.error)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while not self._has_ended:
                if passed := await self._next():
                    yield passed
            if not self.is_complete:
                raise self.error or LiteLLMError()
        except SolarisError as error:
            # What breaks after `[DONE]` takes nothing away from the answer.
            if not self.is_complete:
                self.error = error
                yield self._error_event(error)
        finally:
            self._finish()

    async def _next(self) -> bytes:
        """Return what may pass of the next chunk; notice the end.

        Raises: SolarisError, when the connection breaks or the deadline passes.
        """
        chunk = await self._answer.next_chunk(KEEPALIVE_S)
        if chunk is None:
            return b"" if self._events.mid_event else KEEPALIVE_COMMENT
        if chunk == b"":
            self._has_ended = True
            rest = self._inspect(self._events.flush())
            # An unfinished event would swallow the error event that follows it.
            return rest if self.is_complete else b""
        return b"".join([self._inspect(event) for event in self._events.feed(chunk)])

    def _inspect(self, event: bytes) -> bytes:
        """Return the event, or b"" where the caller must not see it."""
        if self.error is not None:
            return b""
        # Substring searches settle it for all but a few events of a stream.
        if b"[DONE]" in event and event_data(event).strip() == b"[DONE]":
            self.is_complete = True
        elif b'"usage"' in event or b'"error"' in event:
            return self._inspect_json(event)
        return event

    def _inspect_json(self, event: bytes) -> bytes:
        content = _object(event_data(event))
        if content.get("error") and not content.get("choices"):
            self.error, self._has_ended = LiteLLMError(), True
            return b""
        usage = content.get("usage")
        if not isinstance(usage, dict):
            return event
        self.usage = usage
        return event if self._forward_usage or _says_something(content) else b""

    def _error_event(self, error: SolarisError) -> bytes:
        # After part of an oversized event the error must still begin a line of its own.
        return (b"\n\n" if self._events.mid_event else b"") + self._render_error(error)

    def _finish(self) -> None:
        if not self._is_finished:
            self._is_finished = True
            self._answer.close()
            self._on_end(self)


def _object(data: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _says_something(content: dict[str, Any]) -> bool:
    """Tell whether the chunk carries more than usage.

    OpenAI sends the usage chunk with no choices, LiteLLM with one that has an empty delta.
    """
    return any(
        choice.get("delta") or choice.get("finish_reason") or choice.get("text")
        for choice in content.get("choices") or []
        if isinstance(choice, dict)
    )
