"""The way to the disk for those who must not be answered before it: many wait for one sync."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from app.audit.spool import Spool
from app.utils.exceptions import SpoolUnavailableError

# A disk that says nothing for so long takes nothing.
PATIENCE_S = 5.0

Waiting = tuple[bytes, asyncio.Future[None]]


class GroupWriter:
    """Used on one event loop; it writes and syncs in a thread of its own."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="events-disk")
        self._waiting: list[Waiting] = []
        self._work: asyncio.Task[None] | None = None

    async def write(self, lines: bytes) -> None:
        """Return when the lines, all of them, survive the machine.

        Raises: SpoolUnavailableError; after it they may be there all the same.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, done))
        if self._work is None:
            self._work = asyncio.create_task(self._write_all(), name="events-disk")
        try:
            async with asyncio.timeout(PATIENCE_S):
                await done
        except TimeoutError:
            raise SpoolUnavailableError() from None

    async def close(self) -> None:
        """Let what waits be written."""
        if self._work is not None:
            await asyncio.wait([self._work], timeout=PATIENCE_S)
        self._thread.shutdown(wait=False)

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                # What comes meanwhile is the next group.
                group, self._waiting = self._waiting, []
                blocks = [lines for lines, _ in group]
                outcomes = await loop.run_in_executor(
                    self._thread, self._spool.append_durably, blocks
                )
                for (_, done), fault in zip(group, outcomes, strict=True):
                    _tell(done, fault)
        finally:
            self._work = None


def _tell(done: asyncio.Future[None], fault: SpoolUnavailableError | None) -> None:
    if done.done():  # whoever waited has left
        return
    if fault is None:
        done.set_result(None)
    else:
        done.set_exception(fault)
