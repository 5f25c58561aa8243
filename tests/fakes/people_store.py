"""People in memory, for what asks and writes beside calls; outages and slowness included."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from sqlalchemy.exc import IntegrityError

from app.services.people_store import PeopleStore, Sighting
from app.utils.exceptions import DatabaseUnavailableError


class FakePeopleStore(PeopleStore):
    """``is_away`` makes every method fail, `freeze` lets none return."""

    def __init__(self) -> None:
        self.written: list[list[Sighting]] = []
        self.given: dict[str, str | None] = {}
        self.windows: list[float | None] = []
        self.is_away = False
        self.refuses = False
        self._flowing = threading.Event()
        self._flowing.set()

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def record(self, sightings: Iterable[Sighting]) -> None:
        self._ask()
        if self.refuses:
            raise IntegrityError("INSERT", {}, Exception("a row's own text"))
        self.written.append(list(sightings))

    def assignments(self, window_s: float | None = None) -> dict[str, str | None]:
        self._ask()
        self.windows.append(window_s)
        return dict(self.given)

    def seen(self) -> list[str | None]:
        """Return everybody who was written down, in order."""
        return [sighting.user_id for batch in self.written for sighting in batch]

    def _ask(self) -> None:
        self._flowing.wait()
        if self.is_away:
            raise DatabaseUnavailableError(retry_after_s=5)
