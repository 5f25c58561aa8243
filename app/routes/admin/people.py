"""People and teams: who they are, and who is in which."""

from __future__ import annotations

from typing import Any

from app.extensions import people
from app.routes.access import ADMINS, AUDITORS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.routes.sign_in_links import sign_in_link
from app.schemas.base import page, page_of
from app.schemas.people import (
    NewPersonSchema,
    NewTeamSchema,
    PersonChangeSchema,
    PersonQuery,
    PersonSchema,
    SignInLinkSchema,
    TeamChangeSchema,
    TeamQuery,
    TeamSchema,
)

users_bp = AdminBlueprint("users", __name__, "/users", "People")
teams_bp = AdminBlueprint("teams", __name__, "/teams", "Teams")


@users_bp.get("")
@requires_role(*AUDITORS)
@users_bp.query(PersonQuery)
@errors(422)
@users_bp.answers(200, page_of(PersonSchema))
def list_users(query: dict[str, Any]) -> dict[str, Any]:
    """People, in the order of their ids"""
    (after,) = query["cursor"] or ("",)
    found, last = people.people_page(query["limit"], after, query["team"], query["q"])
    return page(found, (last,) if last else None)


@users_bp.post("")
@requires_role(*ADMINS)
@users_bp.body(NewPersonSchema)
@errors(400, 409, 422)
@users_bp.answers(201, PersonSchema)
def create_user(body: dict[str, Any]) -> dict[str, Any]:
    """Make a person before their first call; the id is what the trusted key will name"""
    return people.create_person(body.pop("id"), body)


@users_bp.get("/<name:user_id>")
@requires_role(*AUDITORS)
@errors(404)
@users_bp.answers(200, PersonSchema)
def get_user(user_id: str) -> dict[str, Any]:
    """One person"""
    return people.person(user_id)


@users_bp.patch("/<name:user_id>")
@requires_role(*ADMINS)
@users_bp.body(PersonChangeSchema)
@errors(400, 404, 422)
@users_bp.answers(200, PersonSchema)
def change_user(body: dict[str, Any], user_id: str) -> dict[str, Any]:
    """Say who a person is; their team binds everywhere within 5 seconds"""
    return people.change_person(user_id, body)


@users_bp.delete("/<name:user_id>")
@requires_role(*ADMINS)
@errors(404)
@users_bp.answers(204)
def remove_user(user_id: str) -> None:
    """Forget a person, not what they spent"""
    people.remove_person(user_id)


@users_bp.post("/<name:user_id>/sign-in-link")
@requires_role(*ADMINS)
@errors(404, 422)
@users_bp.answers(201, SignInLinkSchema)
def make_sign_in_link(user_id: str) -> dict[str, Any]:
    """Make a link by which a person signs in to /me, once, within a quarter of an hour"""
    people.person(user_id)
    return sign_in_link(user_id)


@teams_bp.get("")
@requires_role(*AUDITORS)
@teams_bp.query(TeamQuery)
@errors(422)
@teams_bp.answers(200, page_of(TeamSchema))
def list_teams(query: dict[str, Any]) -> dict[str, Any]:
    """Teams, in the order of their ids, and how many people are in each"""
    (after,) = query["cursor"] or ("",)
    found, last = people.teams_page(query["limit"], after, query["q"])
    return page(found, (last,) if last else None)


@teams_bp.post("")
@requires_role(*ADMINS)
@teams_bp.body(NewTeamSchema)
@errors(400, 409, 422)
@teams_bp.answers(201, TeamSchema)
def create_team(body: dict[str, Any]) -> dict[str, Any]:
    """Make a team before anybody is in it"""
    return people.create_team(body["id"], body["name"])


@teams_bp.get("/<name:team_id>")
@requires_role(*AUDITORS)
@errors(404)
@teams_bp.answers(200, TeamSchema)
def get_team(team_id: str) -> dict[str, Any]:
    """One team"""
    return people.team(team_id)


@teams_bp.patch("/<name:team_id>")
@requires_role(*ADMINS)
@teams_bp.body(TeamChangeSchema)
@errors(400, 404, 422)
@teams_bp.answers(200, TeamSchema)
def change_team(body: dict[str, Any], team_id: str) -> dict[str, Any]:
    """Say what people call a team"""
    return people.change_team(team_id, body["name"])


@teams_bp.delete("/<name:team_id>")
@requires_role(*ADMINS)
@errors(404)
@teams_bp.answers(204)
def remove_team(team_id: str) -> None:
    """Take a team away, and everyone out of it; within 5 seconds everywhere"""
    people.remove_team(team_id)
