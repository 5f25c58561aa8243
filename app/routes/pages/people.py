"""People and teams: who they are, what they use, what binds them, and their keys."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_babel import gettext as _

from app.extensions import access, budgets, kill_switch, overview, people, raises
from app.ledger.rules import Payer
from app.routes.access import ADMINS, AUDITORS
from app.routes.pages import forms
from app.routes.pages.guard import requires_session
from app.routes.pages.pager import Pager
from app.routes.pages.shell import admin_pages, back_to, done, render
from app.routes.sign_in_links import sign_in_link
from app.schemas.people import NewTeamSchema, PersonChangeSchema, PersonQuery, TeamQuery
from app.services.key_store import KeyFilter

KEYS_SHOWN, RAISES_SHOWN, PEOPLE_SHOWN = 50, 20, 50


@admin_pages.get("/people")
@requires_session(*AUDITORS)
def list_people() -> str:
    """People, to search and to page through"""
    asked = forms.query(PersonQuery())
    (after,) = asked["cursor"] or ("",)
    found, last = people.people_page(asked["limit"], after, asked["team"], asked["q"])
    pager = Pager((last,) if last else None)
    return render("admin/people.html", people=found, asked=asked, pager=pager)


@admin_pages.get("/people/<name:user_id>")
@requires_session(*AUDITORS)
def show_person(user_id: str) -> str:
    """One person: budgets, use by model and day, keys, raises"""
    person = people.person(user_id)
    payer = Payer(user_id, person["team"], None)
    own_keys, _more = access.key_page(KeyFilter(user_id=user_id), KEYS_SHOWN)
    return render(
        "admin/person.html",
        person=person,
        budgets=[it for it in budgets.binding(payer) if it.period != "minute"],
        days=overview.usage_of({"user": user_id}),
        models=overview.models_of({"user": user_id}),
        keys=own_keys,
        raises=raises.page(RAISES_SHOWN, subject=user_id)[0],
        switches=_thrown_for("user", user_id),
        teams=people.teams(),
    )


@admin_pages.post("/people/<name:user_id>")
@requires_session(*ADMINS)
def change_person(user_id: str) -> Any:
    """Say who a person is, and in which team"""
    said = {name: forms.text(name) for name in ("name", "email", "team")}
    # A field that was left empty is given back to what clients say.
    people.change_person(user_id, PersonChangeSchema().load(said))
    done(_("Saved."))
    return back_to(".show_person", user_id=user_id)


# Not below the person's own address: an id may have slashes in it.
@admin_pages.post("/sign-in-links/<name:user_id>")
@requires_session(*ADMINS)
def make_sign_in_link(user_id: str) -> str:
    """Make a link by which the person signs in to their own page, and show it once"""
    people.person(user_id)
    return render("admin/sign_in_link.html", link=sign_in_link(user_id))


@admin_pages.get("/teams")
@requires_session(*AUDITORS)
def list_teams() -> str:
    """Teams, and how many people are in each"""
    asked = forms.query(TeamQuery())
    (after,) = asked["cursor"] or ("",)
    found, last = people.teams_page(asked["limit"], after, asked["q"])
    return render(
        "admin/teams.html", teams=found, asked=asked, pager=Pager((last,) if last else None)
    )


@admin_pages.post("/teams")
@requires_session(*ADMINS)
def create_team() -> Any:
    """Make a team before anybody is in it"""
    body = forms.load(NewTeamSchema(), {name: forms.text(name) for name in ("id", "name")})
    people.create_team(body["id"], body["name"])
    done(_("The team is there."))
    return back_to(".show_team", team_id=body["id"])


@admin_pages.get("/teams/<name:team_id>")
@requires_session(*AUDITORS)
def show_team(team_id: str) -> str:
    """One team: budgets, use by model and day, its people"""
    (after,) = forms.query(PersonQuery())["cursor"] or ("",)
    members, last = people.people_page(PEOPLE_SHOWN, after, team_id)
    payer = Payer(None, team_id, None)
    bound = [it for it in budgets.binding(payer) if it.scope == "team" and it.period != "minute"]
    return render(
        "admin/team.html",
        team=people.team(team_id),
        budgets=bound,
        days=overview.usage_of({"team": team_id}),
        models=overview.models_of({"team": team_id}),
        people=members,
        pager=Pager((last,) if last else None),
        switches=_thrown_for("team", team_id),
    )


@admin_pages.post("/teams/<name:team_id>")
@requires_session(*ADMINS)
def change_team(team_id: str) -> Any:
    """Say what people call a team"""
    people.change_team(team_id, request.form.get("name", "").strip() or None)
    done(_("Saved."))
    return back_to(".show_team", team_id=team_id)


def _thrown_for(scope: str, subject: str) -> list[Any]:
    thrown, _more = kill_switch.page(KEYS_SHOWN)
    return [it for it in thrown if it.scope == "all" or (it.scope, it.subject) == (scope, subject)]
