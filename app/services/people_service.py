"""People and teams: who calls, and what administrators say of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.services.access_service import Caller
from app.services.actions import RecordAction, unrecorded
from app.services.identity import MAX_VALUE_LENGTH, InvalidFactError, clean, valid_id
from app.services.people_register import PeopleRegister
from app.services.people_store import (
    TEAM,
    PeopleStore,
    PersonNotFoundError,
    PersonRecord,
    TeamRecord,
)
from app.services.team_assignments import TeamAssignments
from app.utils.clock import Clock

# What administrators and clients call it.
TEAM_FACT = "team"


class PeopleService:
    """`meet` is for calls, on the loop; what follows blocks, for threads and the command line.

    An administrator's word stands before a client's: it changes a person's name, e-mail address
    and team for good. What is None or empty is given back to what clients say.
    """

    def __init__(self, store: PeopleStore, clock: Clock, record: RecordAction = unrecorded) -> None:
        self._store = store
        self._register = PeopleRegister(store, clock)
        self._assignments = TeamAssignments(store, clock)
        self._record = record
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start writing down who is met, and watching for changed teams."""
        self._tasks = [
            asyncio.create_task(self._register.keep_writing(), name="people-register"),
            asyncio.create_task(self._assignments.keep_fresh(), name="team-poll"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await self._assignments.close()
        await self._register.close()

    async def meet(self, caller: Caller) -> Caller:
        """Note who calls, and return them in the team that an administrator gave them, if any.

        Raises: DatabaseUnavailableError, when Postgres was never there to say.
        """
        person = caller.person
        self._register.note(
            caller.user_id,
            caller.team,
            caller.key_name,
            name=person.name,
            email=person.email,
            role=person.role,
        )
        if caller.user_id is None:
            return caller
        team = await self._assignments.team_of(caller.user_id)
        return caller if team in (None, caller.team) else replace(caller, team=team)

    def people(self, team: str | None = None) -> list[dict[str, Any]]:
        return [_person(record) for record in self._store.people(team)]

    def people_page(
        self, limit: int, after: str = "", team: str | None = None, text: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return so many people after one, and the last one's id, if more follow; ``text``: within
        their id, name or e-mail address."""
        found = [_person(it) for it in self._store.people_page(limit + 1, after, team, text)]
        return found[:limit], found[limit - 1]["id"] if len(found) > limit else None

    def teams_page(
        self, limit: int, after: str = "", text: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """As `people_page`, of teams."""
        found = [_team(it) for it in self._store.teams_page(limit + 1, after, text)]
        return found[:limit], found[limit - 1]["id"] if len(found) > limit else None

    def person(self, person_id: str) -> dict[str, Any]:
        """Raises: PersonNotFoundError."""
        return _person(self._store.person(person_id))

    def by_email(self, email: str) -> str | None:
        """Return whose e-mail address it is; None where it is nobody's, or more than one's."""
        found = self._store.ids_by_email(email)
        return found[0] if len(found) == 1 else None

    def known_id(self, person_id: str) -> str | None:
        """Return the id, if somebody has it."""
        try:
            return self._store.person(person_id).id
        except PersonNotFoundError:
            return None

    def create_person(self, person_id: str, changes: Mapping[str, str | None]) -> dict[str, Any]:
        """Make a person before their first call; ``changes``: `name`, `email`, `team`.

        Raises: PersonExistsError, InvalidFactError.
        """
        person = self._store.add_person(valid_id("id", person_id), _columns(changes))
        self._recorded("person_created", person_id, changes, None)
        return _person(person)

    def change_person(self, person_id: str, changes: Mapping[str, str | None]) -> dict[str, Any]:
        """Set a person's `name`, `email` or `team`; a team binds everywhere within 5 seconds.

        Raises: PersonNotFoundError, InvalidFactError.
        """
        columns, before = _columns(changes), self._team_of(person_id)
        person = self._store.change_person(person_id, columns)
        self._recorded("person_changed", person_id, changes, before)
        return _person(person)

    def set_person(self, person_id: str, changes: Mapping[str, str | None]) -> bool:
        """Change a person, or make them; return whether they are new. Raises: InvalidFactError."""
        columns, before = _columns(changes), self._team_of(valid_id("id", person_id))
        is_new = self._store.set_person(person_id, columns)
        action = "person_created" if is_new else "person_changed"
        self._recorded(action, person_id, changes, before)
        return is_new

    def remove_person(self, person_id: str) -> None:
        """Forget a person, not what they spent; the team they were given binds a minute more.

        Raises: PersonNotFoundError.
        """
        before = self._team_of(person_id)
        self._store.remove_person(person_id)
        self._record("person_removed", user=person_id, before={"team": before})

    def teams(self) -> list[dict[str, Any]]:
        return [_team(record) for record in self._store.teams()]

    def team(self, team_id: str) -> dict[str, Any]:
        """Raises: TeamNotFoundError."""
        return _team(self._store.team(team_id))

    def create_team(self, team_id: str, name: str | None = None) -> dict[str, Any]:
        """Raises: TeamExistsError, InvalidFactError."""
        team = self._store.add_team(valid_id("id", team_id), _checked("name", name))
        self._record("team_created", team=team_id, after={"name": name})
        return _team(team)

    def change_team(self, team_id: str, name: str | None) -> dict[str, Any]:
        """Raises: TeamNotFoundError, InvalidFactError."""
        before = self._store.team(team_id).name
        team = self._store.change_team(team_id, _checked("name", name))
        self._record("team_changed", team=team_id, before={"name": before}, after={"name": name})
        return _team(team)

    def set_team(self, team_id: str, name: str | None) -> bool:
        """Name a team, or make it; return whether it is new. Raises: InvalidFactError."""
        is_new = self._store.set_team(valid_id("id", team_id), _checked("name", name))
        action = "team_created" if is_new else "team_changed"
        self._record(action, team=team_id, after={"name": name})
        return is_new

    def remove_team(self, team_id: str) -> None:
        """Take a team away, and everyone out of it, everywhere within 5 seconds.

        Raises: TeamNotFoundError.
        """
        self._store.remove_team(team_id)
        self._record("team_removed", team=team_id)

    def _team_of(self, person_id: str) -> str | None:
        try:
            return self._store.person(person_id).team_id
        except PersonNotFoundError:
            return None

    def _recorded(
        self, action: str, person_id: str, changes: Mapping[str, str | None], before: str | None
    ) -> None:
        """Names and addresses are not on record, but that they were set."""
        states: dict[str, Any] = {}
        if TEAM_FACT in changes:
            states = {"before": {"team": before}, "after": {"team": changes[TEAM_FACT] or None}}
        self._record(action, user=person_id, changed=sorted(changes), **states)


def _columns(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what is to be set, by the names of the columns."""
    return {
        TEAM if fact == TEAM_FACT else fact: _checked(fact, value)
        for fact, value in changes.items()
    }


def _checked(fact: str, value: str | None) -> str | None:
    """Raises: InvalidFactError."""
    value = (value or "").strip()
    if clean(value) != value or (fact == "email" and value and not _is_email(value)):
        raise InvalidFactError(fact)
    return value or None


def _is_email(value: str) -> bool:
    local, _, domain = value.rpartition("@")
    return bool(local and domain) and " " not in value and len(value) <= MAX_VALUE_LENGTH


def _person(record: PersonRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "email": record.email,
        "role": record.role,
        "team": record.team_id,
        "team_assigned": TEAM in record.pinned,
        "first_key": record.first_key,
        "created_at": record.created_at,
        "first_seen_at": record.first_seen_at,
        "last_seen_at": record.last_seen_at,
    }


def _team(record: TeamRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "people": record.people,
        "created_at": record.created_at,
    }
