"""People and teams in Postgres: blocking queries, for threads and for the command line.

A person's facts come from what clients say with each call, unless an administrator has set them:
a column named in ``pinned`` is the administrator's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, and_, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.models import Team, User
from app.services.database import session_on
from app.utils.exceptions import ConflictError, NotFoundError

TEAM = "team_id"
PINNABLE = ("name", "email", TEAM)
MAX_ID_LENGTH = 256


class PersonExistsError(ConflictError):
    """There is a person of this id already."""


class PersonNotFoundError(NotFoundError):
    """Nobody of this id has been named or made."""


class TeamExistsError(ConflictError):
    """There is a team of this id already."""


class TeamNotFoundError(NotFoundError):
    """No team of this id has been named or made."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a call said of who made it; ``user_id`` is None where only a team was named."""

    user_id: str | None
    name: str | None
    email: str | None
    role: str | None
    team_id: str | None
    key: str
    at: datetime


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """One row of `users`, detached from its session."""

    id: str
    name: str | None
    email: str | None
    role: str | None
    team_id: str | None
    pinned: frozenset[str]
    first_key: str | None
    created_at: datetime
    first_seen_at: datetime | None
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class TeamRecord:
    """One row of `teams`, and how many people are in it."""

    id: str
    name: str | None
    people: int
    created_at: datetime


class PeopleStore:
    """Raises DatabaseUnavailableError from every method when Postgres is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, sightings: Iterable[Sighting]) -> None:
        """Write down who was seen, each person once; safe to repeat."""
        # In one order everywhere: two workers that write the same rows would wait for each other.
        people = sorted((it for it in sightings if it.user_id), key=lambda it: it.user_id or "")
        teams = sorted({it.team_id for it in sightings if it.team_id})
        with session_on(self._engine) as session:
            if teams:
                session.execute(
                    insert(Team).on_conflict_do_nothing(), [{"id": team} for team in teams]
                )
            if people:
                session.execute(_UPSERT_PEOPLE, [_seen_row(it) for it in people])
            session.commit()

    def assignments(self, window_s: float | None = None) -> dict[str, str | None]:
        """Return the teams that administrators gave people, by person.

        With ``window_s`` only what changed in the last so many seconds; None: no team any more.
        """
        query = select(
            User.id, case((User.pinned.contains([TEAM]), User.team_id), else_=None).label(TEAM)
        ).where(User.team_assigned_at.is_not(None))
        if window_s is not None:
            since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, window_s)
            query = query.where(User.team_assigned_at > since)
        with session_on(self._engine) as session:
            return {row.id: row.team_id for row in session.execute(query)}

    def people(self, team: str | None = None) -> list[PersonRecord]:
        query = select(User).order_by(User.id)
        if team is not None:
            query = query.where(User.team_id == team)
        with session_on(self._engine) as session:
            return [_person(row) for row in session.scalars(query)]

    def people_page(
        self, limit: int, after: str = "", team: str | None = None, text: str | None = None
    ) -> list[PersonRecord]:
        """Return people in the order of their ids, those after one; ``text``: within their id, name
        or e-mail address, in any case."""
        query = select(User).where(User.id > after)
        if team is not None:
            query = query.where(User.team_id == team)
        if text is not None:
            query = query.where(_any_contains(text, User.id, User.name, User.email))
        with session_on(self._engine) as session:
            rows = session.scalars(query.order_by(User.id).limit(limit))
            return [_person(row) for row in rows]

    def teams_page(self, limit: int, after: str = "", text: str | None = None) -> list[TeamRecord]:
        """As `people_page`, of teams."""
        query = _TEAMS.where(Team.id > after)
        if text is not None:
            query = query.where(_any_contains(text, Team.id, Team.name))
        with session_on(self._engine) as session:
            rows = session.execute(query.order_by(Team.id).limit(limit))
            return [TeamRecord(*row) for row in rows]

    def person(self, person_id: str) -> PersonRecord:
        """Raises: PersonNotFoundError."""
        with session_on(self._engine) as session:
            row = session.get(User, person_id)
            if row is None:
                raise PersonNotFoundError(person_id)
            return _person(row)

    def ids_by_email(self, email: str) -> list[str]:
        """Return who has this e-mail address, whatever its case; two at most."""
        query = select(User.id).where(func.lower(User.email) == email.lower()).limit(2)
        with session_on(self._engine) as session:
            return list(session.scalars(query))

    def add_person(self, person_id: str, changes: Mapping[str, str | None]) -> PersonRecord:
        """Make a person whom no client has named yet. Raises: PersonExistsError."""
        with session_on(self._engine) as session:
            query = insert(User).values(id=person_id).on_conflict_do_nothing().returning(User)
            row = session.scalar(query)
            if row is None:
                raise PersonExistsError(person_id)
            _pin(session, row, changes)
            session.commit()
            return _person(row)

    def set_person(self, person_id: str, changes: Mapping[str, str | None]) -> bool:
        """Change a person, or make them; return whether they are new."""
        query = insert(User).values(id=person_id).on_conflict_do_nothing().returning(User.id)
        with session_on(self._engine) as session:
            is_new = session.scalar(query) is not None
            row = session.get_one(User, person_id, with_for_update=True)
            _pin(session, row, changes)
            session.commit()
        return is_new

    def change_person(self, person_id: str, changes: Mapping[str, str | None]) -> PersonRecord:
        """Set columns for good; None gives one back to what clients say.

        Raises: PersonNotFoundError.
        """
        with session_on(self._engine) as session:
            row = session.get(User, person_id, with_for_update=True)
            if row is None:
                raise PersonNotFoundError(person_id)
            _pin(session, row, changes)
            session.commit()
            return _person(row)

    def remove_person(self, person_id: str) -> None:
        """Forget a person; they appear again when they are named again.

        Raises: PersonNotFoundError.
        """
        with session_on(self._engine) as session:
            if session.scalar(delete(User).where(User.id == person_id).returning(User.id)) is None:
                raise PersonNotFoundError(person_id)
            session.commit()

    def teams(self) -> list[TeamRecord]:
        with session_on(self._engine) as session:
            return [TeamRecord(*row) for row in session.execute(_TEAMS.order_by(Team.id))]

    def team(self, team_id: str) -> TeamRecord:
        """Raises: TeamNotFoundError."""
        with session_on(self._engine) as session:
            row = session.execute(_TEAMS.where(Team.id == team_id)).one_or_none()
            if row is None:
                raise TeamNotFoundError(team_id)
            return TeamRecord(*row)

    def add_team(self, team_id: str, name: str | None) -> TeamRecord:
        """Raises: TeamExistsError."""
        query = insert(Team).values(id=team_id, name=name).on_conflict_do_nothing()
        with session_on(self._engine) as session:
            if session.scalar(query.returning(Team.id)) is None:
                raise TeamExistsError(team_id)
            session.commit()
        return self.team(team_id)

    def set_team(self, team_id: str, name: str | None) -> bool:
        """Name a team, or make it; return whether it is new."""
        query = insert(Team).values(id=team_id).on_conflict_do_nothing().returning(Team.id)
        with session_on(self._engine) as session:
            is_new = session.scalar(query) is not None
            session.execute(update(Team).where(Team.id == team_id).values(name=name))
            session.commit()
        return is_new

    def change_team(self, team_id: str, name: str | None) -> TeamRecord:
        """Raises: TeamNotFoundError."""
        query = update(Team).where(Team.id == team_id).values(name=name)
        with session_on(self._engine) as session:
            if session.scalar(query.returning(Team.id)) is None:
                raise TeamNotFoundError(team_id)
            session.commit()
        return self.team(team_id)

    def remove_team(self, team_id: str) -> None:
        """Take a team away, and everyone out of it. Raises: TeamNotFoundError."""
        with session_on(self._engine) as session:
            if session.scalar(delete(Team).where(Team.id == team_id).returning(Team.id)) is None:
                raise TeamNotFoundError(team_id)
            session.execute(_LEAVE_TEAM.where(User.team_id == team_id))
            session.commit()


def _any_contains(text: str, *columns: Any) -> Any:
    return or_(*(it.icontains(text, autoescape=True) for it in columns))


_TEAMS = (
    select(Team.id, Team.name, func.count(User.id), Team.created_at)
    .outerjoin(User, User.team_id == Team.id)
    .group_by(Team.id)
)

_LEAVE_TEAM = update(User).values(
    team_id=None,
    pinned=func.array_remove(User.pinned, TEAM),
    team_assigned_at=case((User.pinned.contains([TEAM]), func.now()), else_=User.team_assigned_at),
)


def _upsert_people() -> Any:
    query = insert(User)
    new = query.excluded
    # One that comes late must not undo what a later call said.
    is_older = and_(User.last_seen_at.is_not(None), new.last_seen_at < User.last_seen_at)

    def said(column: str) -> Any:
        """Keep what an administrator has set, and what is known where nothing new is said."""
        old, said_now = getattr(User, column), getattr(new, column)
        is_kept = or_(User.pinned.contains([column]), is_older)
        # A call without a team draws on no team: that is said too.
        return case((is_kept, old), else_=said_now if column == TEAM else _either(said_now, old))

    return query.on_conflict_do_update(
        index_elements=[User.id],
        set_={
            "name": said("name"),
            "email": said("email"),
            "role": _either(new.role, User.role),
            TEAM: said(TEAM),
            "first_key": _either(User.first_key, new.first_key),
            "first_seen_at": func.least(User.first_seen_at, new.first_seen_at),
            "last_seen_at": func.greatest(User.last_seen_at, new.last_seen_at),
        },
    )


def _either(first: Any, second: Any) -> Any:
    return func.coalesce(first, second)


_UPSERT_PEOPLE = _upsert_people()


def _seen_row(sighting: Sighting) -> dict[str, Any]:
    return {
        "id": sighting.user_id,
        "name": sighting.name,
        "email": sighting.email,
        "role": sighting.role,
        TEAM: sighting.team_id,
        "first_key": sighting.key,
        "first_seen_at": sighting.at,
        "last_seen_at": sighting.at,
    }


def _pin(session: Any, row: User, changes: Mapping[str, str | None]) -> None:
    """Set columns of ``row``, and remember that it was an administrator who did."""
    pinned = set(row.pinned)
    for column, value in changes.items():
        setattr(row, column, value)
        (pinned.discard if value is None else pinned.add)(column)
    row.pinned = sorted(pinned)
    if TEAM not in changes:
        return
    row.team_assigned_at = session.scalar(select(func.now()))
    if team := changes[TEAM]:
        session.execute(insert(Team).values(id=team).on_conflict_do_nothing())


def _person(row: User) -> PersonRecord:
    return PersonRecord(
        id=row.id,
        name=row.name,
        email=row.email,
        role=row.role,
        team_id=row.team_id,
        pinned=frozenset(row.pinned),
        first_key=row.first_key,
        created_at=row.created_at,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
    )
