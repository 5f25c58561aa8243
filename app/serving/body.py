"""A response body that is produced on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Protocol, cast

from flask import current_app

from app.utils.background_loop import BackgroundLoop


def stream_body(chunks: AsyncIterator[bytes], farewell: Callable[[], bytes]) -> AsyncBody:
    """Return a body of the current application."""
    return AsyncBody(chunks, farewell, cast("HasLoop", current_app).background_loop)


class HasLoop(Protocol):
    """An application with a loop of its own, such as SolarisFlask."""

    background_loop: BackgroundLoop


class AsyncBody:
    """Chunks of an asynchronous iterator, as a response body for both kinds of server.

    Under ASGI the chunks are sent as they come; a WSGI server, which can only iterate, gets them
    through the background loop. ``farewell`` makes the bytes that end the body properly where
    the worker must stop before it is over.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], farewell: Callable[[], bytes], loop: BackgroundLoop
    ) -> None:
        self.chunks = chunks
        self.farewell = farewell
        self._loop = loop
        self._iterator: Generator[bytes, None, None] | None = None
        self._is_closed = False

    def __iter__(self) -> Generator[bytes, None, None]:
        self._iterator = self._loop.iterate(self.chunks)
        return self._iterator

    async def aclose(self) -> None:
        """Give the body up; its iterator's `finally` blocks have run when this returns."""
        if not self._is_closed:
            self._is_closed = True
            await _close(self.chunks)

    def close(self) -> None:
        """Called by a WSGI server when the response is over, read to its end or not."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._iterator is not None:
            self._iterator.close()
        # A generator that never started does not reach its own `finally`.
        self._loop.run(_close(self.chunks))

    def abandon(self) -> None:
        """Give up a body that nobody will be sent, from the loop or from a thread."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.close()
            return
        task = loop.create_task(self.aclose())
        _closing.add(task)
        task.add_done_callback(_closing.discard)


# The loop itself keeps only weak references to tasks.
_closing: set[asyncio.Task[None]] = set()


async def _close(chunks: AsyncIterator[Any]) -> None:
    aclose = getattr(chunks, "aclose", None)
    if aclose is not None:
        await aclose()
