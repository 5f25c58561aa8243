"""Writing down who calls, beside the calls: no call waits for it, and none fails by it.

Each worker remembers whom it has written down lately, so that a call costs a look into memory.
What is new goes to Postgres within a second; a worker that is killed in that second forgets it,
and the person appears with their next call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from app.services.people_store import MAX_ID_LENGTH, PeopleStore, Sighting
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError

logger = logging.getLogger(__name__)

WRITE_INTERVAL_S = 1.0
# `last_seen_at` is as exact as this; who has been forgotten appears again after as long.
REMEMBERED_S = 300.0
MAX_REMEMBERED = 50_000
MAX_WAITING = 10_000
MAX_BATCH = 500
LONGEST_DELAY_S = 8.0
CLOSE_PATIENCE_S = 5.0

# A person, or where nobody is named, a team.
Whom = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class _Known:
    facts: int
    until_s: float


class PeopleRegister:
    """One instance a process, on its one loop; the store's queries run in threads."""

    def __init__(self, store: PeopleStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[Whom, _Known] = OrderedDict()
        self._waiting: dict[Whom, Sighting] = {}

    def note(
        self,
        user_id: str | None,
        team_id: str | None,
        key: str,
        *,
        name: str | None = None,
        email: str | None = None,
        role: str | None = None,
    ) -> None:
        """Remember who made a call, to be written down soon where it says something new."""
        if max(len(user_id or ""), len(team_id or "")) > MAX_ID_LENGTH or not (user_id or team_id):
            return
        whom: Whom = (user_id, None if user_id else team_id)
        facts = hash((team_id, name, email, role))
        if self._is_known(whom, facts):
            return
        if whom not in self._waiting and len(self._waiting) >= MAX_WAITING:
            # Not remembered: the next call of theirs says it again.
            return
        sighting = Sighting(user_id, name, email, role, team_id, key, self._clock.now())
        older = self._waiting.get(whom)
        self._waiting[whom] = _merged(older, sighting) if older else sighting
        self._remember(whom, facts)

    async def keep_writing(self) -> None:
        """Write down what waits, until cancelled."""
        delay_s = WRITE_INTERVAL_S
        while True:
            await asyncio.sleep(delay_s)
            is_written = await self.write()
            delay_s = WRITE_INTERVAL_S if is_written else min(delay_s * 2, LONGEST_DELAY_S)

    async def write(self) -> bool:
        """Write down all that waits; return False where that must be tried again."""
        while self._waiting:
            batch = [self._waiting.pop(whom) for whom in list(self._waiting)[:MAX_BATCH]]
            try:
                await asyncio.to_thread(self._store.record, batch)
            except DatabaseUnavailableError:
                self._put_back(batch)
                logger.warning("people_not_written", extra={"waiting": len(self._waiting)})
                return False
            except asyncio.CancelledError:
                # It may be written all the same; twice does no harm.
                self._put_back(batch)
                raise
            except SQLAlchemyError as fault:
                # It would fail for ever. Its text may quote rows.
                extra = {"people": len(batch), "error_type": type(fault).__name__}
                logger.error("people_dropped", extra=extra)  # noqa: TRY400  # no trace: it quotes too
        return True

    async def close(self) -> None:
        """Write down what waits, if that can be done soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await self.write()

    def _is_known(self, whom: Whom, facts: int) -> bool:
        known = self._known.get(whom)
        return known is not None and known.facts == facts and self._clock.steady_s() < known.until_s

    def _remember(self, whom: Whom, facts: int) -> None:
        self._known[whom] = _Known(facts, self._clock.steady_s() + REMEMBERED_S)
        self._known.move_to_end(whom)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _put_back(self, batch: Iterable[Sighting]) -> None:
        for older in batch:
            whom: Whom = (older.user_id, None if older.user_id else older.team_id)
            newer = self._waiting.get(whom)
            self._waiting[whom] = _merged(older, newer) if newer else older


def _merged(older: Sighting, newer: Sighting) -> Sighting:
    """Join what two calls said of one person; the key is the one that named them first."""
    return replace(
        newer,
        name=newer.name or older.name,
        email=newer.email or older.email,
        role=newer.role or older.role,
        key=older.key,
    )
