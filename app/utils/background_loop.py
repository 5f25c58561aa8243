"""The process's one event loop, reachable from threads.

Under ASGI it is the server's own loop; elsewhere (the command line, the test client,
`flask run`) a thread runs one, started at first use. Coroutines of one process thus always
run on one loop, so they can share an aiohttp session.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class _End:
    """Tells that an iterator has ended, across a call that can return any value."""


class BackgroundLoop:
    """Runs coroutines for synchronous callers, on one loop a process."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use ``loop``, which somebody else runs, from now on."""
        self.stop()
        self._loop, self._pid = loop, os.getpid()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the loop and wait for it; context variables come along.

        Raises: RuntimeError when called on the loop itself, which would wait for itself.
        """
        loop = self._running_loop()
        if _current_loop() is loop:
            coroutine.close()
            raise RuntimeError("async_to_sync was called on the event loop; await instead")
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def iterate(self, chunks: AsyncIterator[T]) -> Generator[T, None, None]:
        """Yield what ``chunks`` yields, each fetched on the loop."""
        while not isinstance(chunk := self.run(_next_or_end(chunks)), _End):
            yield chunk

    def stop(self) -> None:
        """Stop the thread, if one was started; an adopted loop is left to its owner."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked child inherits the loop object, but not the thread that runs it.
            if self._loop is None or self._loop.is_closed() or self._pid != os.getpid():
                self._loop = self._started_loop()
            return self._loop

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        loop, self._pid = asyncio.new_event_loop(), os.getpid()
        self._thread = threading.Thread(
            target=loop.run_forever, name="background-loop", daemon=True
        )
        self._thread.start()
        return loop


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _next_or_end(chunks: AsyncIterator[T]) -> T | _End:
    return await anext(chunks, _End())
