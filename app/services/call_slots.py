"""How many calls one named person may have under way at once, over all workers and machines.

A call that falls back to another model is still one call.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass

from app.services.slot_boards import SlotBoard
from app.utils.exceptions import TooManyCallsError


@dataclass(frozen=True, slots=True)
class Slot:
    """One call's place among its person's."""

    person: str
    call_id: str


class CallSlots:
    """One instance a process, on its one loop.

    While the board is away each worker goes by its part of the limit.
    """

    def __init__(self, board: SlotBoard, limit: int, workers: int) -> None:
        """``limit`` 0 is none."""
        self._board = board
        self._limit = limit
        self._part = max(1, limit // workers)
        # By person.
        self._own: defaultdict[str, set[str]] = defaultdict(set)
        self._background: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        if self._background:
            await asyncio.wait(self._background)
        await self._board.close()

    async def enter(self, person: str | None) -> Slot | None:
        """Let one more call of ``person`` in; None where nothing is counted.

        Raises: TooManyCallsError.
        """
        if person is None or not self._limit:
            return None
        slot = Slot(person, secrets.token_hex(8))
        try:
            own = tuple(self._own.get(person, ()))
            is_in = await self._board.enter(person, slot.call_id, own, self._limit)
        except BaseException:
            # It may be in all the same; whoever waited for it is gone.
            self.leave(slot)
            raise
        if is_in is None:
            is_in = len(self._own.get(person, ())) < self._part
        if not is_in:
            raise TooManyCallsError
        self._own[person].add(slot.call_id)
        return slot

    def leave(self, slot: Slot | None) -> None:
        """Free the place, soon. May be said more than once."""
        if slot is None:
            return
        if own := self._own.get(slot.person):
            own.discard(slot.call_id)
            if not own:
                del self._own[slot.person]
        # Also where the board was away: it may have heard all the same.
        self._soon(self._board.leave(slot.person, slot.call_id))

    async def keep_alive(self) -> None:
        await self._board.stay({person: tuple(own) for person, own in self._own.items()})

    def _soon(self, leaving: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(leaving)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
