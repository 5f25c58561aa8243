"""Kill switches as a worker obeys them: what is thrown, as of half a second ago.

While Postgres is away the last known ones stay, and each ends at its own moment. A worker that has
never known them lets nobody in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from app.ledger.rules import Payer
from app.services.database import in_thread
from app.services.kill_switch_store import KillSwitch, KillSwitchStore
from app.utils.clock import Clock
from app.utils.exceptions import (
    AccessSuspendedError,
    DatabaseUnavailableError,
    ModelSuspendedError,
    SolarisError,
    TeamSuspendedError,
    UserSuspendedError,
)

# Every worker obeys within two seconds.
POLL_INTERVAL_S = 0.5
# Where nobody polls, outside a server, whoever calls asks when so long has passed.
UNPOLLED_S = 1.0


class Stoppable(Protocol):
    """An answer that is under way."""

    def stop(self, error: SolarisError) -> None:
        """End it with ``error``, as soon as whoever reads it looks."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    answer: Stoppable
    payer: Payer
    model: str


class KillSwitches:
    """For the event loop; the store's queries run in threads."""

    def __init__(self, store: KillSwitchStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # None: not known yet.
        self._thrown: tuple[KillSwitch, ...] | None = None
        self._asked_at_s = float("-inf")
        self._under_way: dict[int, _UnderWay] = {}
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Learn what is thrown, and go on asking."""
        await self.poll()
        self._task = asyncio.create_task(self._keep_asking(), name="kill-switches")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def poll(self) -> None:
        """Ask what is thrown, and end the streams that it is meant for."""
        self._asked_at_s = self._clock.steady_s()
        with contextlib.suppress(DatabaseUnavailableError):
            # The store has logged it, and what was known stays.
            self._thrown = await in_thread(self._store.thrown)
        for it in list(self._under_way.values()):
            self._stop_if_meant(it)

    @property
    def thrown(self) -> tuple[KillSwitch, ...]:
        """Return those in force, as far as this worker knows."""
        return tuple(self._in_force())

    async def require_admitted(self, payer: Payer) -> None:
        """Raises: AccessSuspendedError, where everybody, the payer or their team is stopped;
        DatabaseUnavailableError, where nobody can know."""
        is_old = self._clock.steady_s() - self._asked_at_s >= UNPOLLED_S
        if self._task is None and is_old:
            await self.poll()
        if self._thrown is None:
            raise DatabaseUnavailableError(retry_after_s=1)
        if error := _refusal(self._in_force(), payer):
            raise error

    def stopped_models(self) -> dict[str, SolarisError]:
        """Return the models that must not be asked, each with what to tell who asked for it."""
        return {
            it.subject: ModelSuspendedError(it.subject, it.reason)
            for it in self._in_force()
            if it.scope == "model"
        }

    def watch(self, answer: Stoppable, payer: Payer, model: str) -> None:
        """Have an answer ended when it is meant by a switch, be it at once; until `forget`."""
        under_way = self._under_way[id(answer)] = _UnderWay(answer, payer, model)
        self._stop_if_meant(under_way)

    def forget(self, answer: Stoppable) -> None:
        """It has ended."""
        self._under_way.pop(id(answer), None)

    def _stop_if_meant(self, it: _UnderWay) -> None:
        error = _refusal(self._in_force(), it.payer) or self.stopped_models().get(it.model)
        if error is not None:
            it.answer.stop(error)

    def _in_force(self) -> Iterable[KillSwitch]:
        if not self._thrown:
            return ()
        now = self._clock.now()
        return [it for it in self._thrown if it.is_thrown(now)]

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            await self.poll()


def _refusal(thrown: Iterable[KillSwitch], payer: Payer) -> SolarisError | None:
    """Return what to tell the payer; the widest switch that means them comes first."""
    whose = {it.scope: it.reason for it in thrown if it.subject == _subject(it.scope, payer)}
    if "all" in whose:
        return AccessSuspendedError(whose["all"])
    if "team" in whose:
        return TeamSuspendedError(whose["team"])
    return UserSuspendedError(whose["user"]) if "user" in whose else None


def _subject(scope: str, payer: Payer) -> str | None:
    return {"all": "", "team": payer.team, "user": payer.user}.get(scope)
