"""The teams that administrators gave people, in memory, so that a call asks the database nothing.

One poll a process and `POLL_INTERVAL_S` fetches what changed. While Postgres is away what was
known last goes on: nobody can have changed it there.
"""

from __future__ import annotations

import asyncio

from app.services.people_store import PeopleStore
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError

POLL_INTERVAL_S = 1.0
# A change is promised to hold everywhere within 5 s; older knowledge is asked for again.
FRESH_S = 4.0
# A row deleted leaves no change to be polled: all is read again after this long.
RECHECK_S = 60.0
# A change becomes visible when its transaction commits, stamped with the time it began.
LONGEST_CHANGE_S = 60.0
# How long a call waits for Postgres, and how long after that none does.
PATIENCE_S = 1.0
RETRY_S = 5.0


class TeamAssignments:
    """Teams by person, for the event loop; the store's queries run in a thread, one at a time."""

    def __init__(self, store: PeopleStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._teams: dict[str, str] = {}
        self._polled_at_s = float("-inf")
        self._read_all_at_s = float("-inf")
        self._away_until_s = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def team_of(self, person: str) -> str | None:
        """Return the team that an administrator gave ``person``, or None.

        Raises: DatabaseUnavailableError, when Postgres was never there to say.
        """
        if not self._is_fresh() and self._clock.steady_s() >= self._away_until_s:
            await asyncio.wait({self._read_soon()}, timeout=PATIENCE_S)
            if not self._is_fresh():
                self._away_until_s = self._clock.steady_s() + RETRY_S
        if self._polled_at_s == float("-inf"):
            raise DatabaseUnavailableError(retry_after_s=RETRY_S)
        return self._teams.get(person)

    async def keep_fresh(self) -> None:
        """Poll for changes until cancelled."""
        while True:
            await asyncio.wait({self._read_soon()})
            await asyncio.sleep(POLL_INTERVAL_S)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def _is_fresh(self) -> bool:
        return self._clock.steady_s() - self._polled_at_s < FRESH_S

    def _read_soon(self) -> asyncio.Task[None]:
        """Return the read that is under way, which begins now if there is none."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="team-assignments")
        return self._reading

    async def _read(self) -> None:
        started_at_s = self._clock.steady_s()
        reads_all = started_at_s - self._read_all_at_s >= RECHECK_S
        window_s = None if reads_all else started_at_s - self._polled_at_s + LONGEST_CHANGE_S
        try:
            changes = await asyncio.to_thread(self._store.assignments, window_s)
        except DatabaseUnavailableError:
            return
        if reads_all:
            self._teams.clear()
            self._read_all_at_s = started_at_s
        for person, team in changes.items():
            if team is None:
                self._teams.pop(person, None)
            else:
                self._teams[person] = team
        self._polled_at_s = started_at_s
