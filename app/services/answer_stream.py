"""A streamed answer on its way to the caller: the same bytes, watched as they pass.

What is changed, and nothing else: the usage chunk, which is always asked for upstream, is taken
out when the caller did not ask; an error event of LiteLLM's is replaced by ours, because its text
quotes internals; a stream that breaks off ends with an error event, because every client takes a
clean end without its API's last event for a complete answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from app.dialects.base import StreamReader, Usage
from app.services.litellm_transport import Deadline
from app.services.write_ahead import WriteAhead
from app.utils.exceptions import DrainingError, LiteLLMError, SolarisError
from app.utils.sse import EventSplitter

KEEPALIVE_S = 15.0
KEEPALIVE_COMMENT = b": keep-alive\n\n"


class ChunkSource(Protocol):
    """Where the bytes come from: LiteLLM's answer."""

    async def next_chunk(self, patience_s: float) -> bytes | None:
        """Return the next bytes; b"" when they have ended, None after ``patience_s`` of silence."""

    def fail(self, error: SolarisError) -> None:
        """Have whoever waits for the next bytes, or asks for them, get ``error``."""

    def close(self) -> None:
        """Give up what has not come yet."""


class WholeSource:
    """Bytes that are all here already."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._failure: SolarisError | None = None

    async def next_chunk(self, patience_s: float) -> bytes | None:  # noqa: ARG002  # never silent
        if self._failure is not None:
            raise self._failure
        content, self._content = self._content, b""
        return content

    def fail(self, error: SolarisError) -> None:
        self._failure = error

    def close(self) -> None:
        pass


class AnswerStream(AsyncIterator[bytes]):
    """Bytes for the caller; ``usage``, ``error`` and ``is_complete`` tell afterwards what came.

    After `begin` it belongs to its caller, who must read it to the end or close it; ``on_end`` is
    then called once, however it ends: complete, broken, or given up.
    """

    def __init__(
        self,
        answer: ChunkSource,
        reader: StreamReader,
        render_error: Callable[[SolarisError], bytes],
    ) -> None:
        self._answer = answer
        self._reader = reader
        self._render_error = render_error
        self._events = EventSplitter()
        self._first: list[bytes] = []
        self._has_ended = False
        self._is_finished = False
        self._generator = self._chunks()
        self.on_end: Callable[[AnswerStream], None] = lambda _stream: None
        self._listener: Callable[[bytes], None] | None = None
        # Asked before part of the answer is passed on; None where nobody need be.
        self.write_ahead: WriteAhead | None = None
        self.error: SolarisError | None = None

    @property
    def usage(self) -> Usage | None:
        return self._reader.usage

    @property
    def stated_cost(self) -> int | None:
        return self._reader.stated_cost

    @property
    def received_tokens(self) -> int:
        return self._reader.received_tokens

    @property
    def is_complete(self) -> bool:
        return self._reader.is_complete

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        # Not itself: that would be one more coroutine for each chunk.
        return self._generator

    async def __anext__(self) -> bytes:
        return await anext(self._generator)

    async def begin(self) -> None:
        """Wait for the first event, or for 15 s of silence, before anything is promised.

        A stream that fails before it can still become a status, or another model's answer.

        Raises: SolarisError; the answer is closed then.
        """
        try:
            await self._wait_for_first()
            self._require_begun()
        except BaseException:
            self._answer.close()
            raise

    async def _wait_for_first(self) -> None:
        patience = Deadline(KEEPALIVE_S)
        while not self._has_ended and not _says_something(self._first):
            passed = await self._next(max(0.0, patience.left_s()))
            if passed is not None:
                self._first.append(passed)
            elif patience.left_s() <= 0:
                self._first.append(KEEPALIVE_COMMENT)
                return

    def _require_begun(self) -> None:
        """What comes together with part of an answer, be it an error, belongs to the answer."""
        if self._has_ended and not self.is_complete and not _says_something(self._first):
            raise self.error or LiteLLMError()

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Have ``listener`` hear every event, also what came before."""
        splitter = EventSplitter()
        for event in (event for chunk in self._first for event in splitter.feed(chunk)):
            listener(event)
        self._listener = listener

    async def aclose(self) -> None:
        """Give the stream up; upstream's connection is closed, also when nothing was read yet."""
        await self._generator.aclose()
        self._finish()

    def stop(self, error: SolarisError) -> None:
        """End the stream with ``error``; what has already come is not passed on any more."""
        self._answer.fail(error)

    def farewell(self) -> bytes:
        """Return the event that ends the stream when this worker must stop before it is over."""
        self.error = DrainingError()
        return self._error_event(self.error)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            if first := b"".join(self._first):
                await self._cover()
                yield first
            while not self._has_ended:
                passed = await self._next(KEEPALIVE_S)
                if passed is None:
                    passed = b"" if self._events.mid_event else KEEPALIVE_COMMENT
                if passed:
                    await self._cover()
                    yield passed
            if not self.is_complete:
                raise self.error or LiteLLMError()
        except SolarisError as error:
            # What breaks after the last event takes nothing away from the answer.
            if not self.is_complete:
                self.error = error
                yield self._error_event(error)
        finally:
            self._finish()

    async def _cover(self) -> None:
        ahead = self.write_ahead
        if ahead is not None and self._reader.received_tokens >= ahead.due:
            await ahead.cover(self._reader.received_tokens)

    async def _next(self, patience_s: float) -> bytes | None:
        """Return what may pass of the next chunk, None after ``patience_s`` of silence.

        Raises: SolarisError, when the connection breaks or the deadline passes.
        """
        chunk = await self._answer.next_chunk(patience_s)
        if chunk is None:
            return None
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
        passed = self._reader.read(event)
        if self._listener is not None:
            self._listener(event)
        if self._reader.has_failed:
            self.error, self._has_ended = LiteLLMError(), True
        return passed

    def _error_event(self, error: SolarisError) -> bytes:
        # After part of an oversized event the error must still begin a line of its own.
        return (b"\n\n" if self._events.mid_event else b"") + self._render_error(error)

    def _finish(self) -> None:
        if not self._is_finished:
            self._is_finished = True
            self._answer.close()
            self.on_end(self)


def _says_something(chunks: list[bytes]) -> bool:
    """Tell whether more than comments has come, which are only signs of life."""
    return any(not chunk.startswith(b":") or b"data:" in chunk for chunk in chunks if chunk)
