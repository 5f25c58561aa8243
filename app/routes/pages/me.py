"""`/me`: a person's own use, what is left of their budgets, a request for more, their keys."""

from __future__ import annotations

from typing import Any

from flask import g, redirect, render_template, session, url_for
from flask_babel import gettext as _

from app.extensions import (
    access,
    budgets,
    describe,
    overview,
    page_sessions,
    people,
    raise_requests,
    settings,
)
from app.ledger.rules import Payer
from app.routes.access import acting_as, open_to
from app.routes.client_address import client_address
from app.routes.pages import forms
from app.routes.pages.guard import PERSON_POLICY, keep_session, requires_person, wanted_address
from app.routes.pages.shell import LANGUAGE, back_to, done, language, me_pages, render
from app.schemas.budgets import NewRaiseRequestSchema
from app.services.key_store import KeyFilter
from app.services.people_store import PersonNotFoundError
from app.utils.exceptions import SignInRefusedError

KEYS_SHOWN, REQUESTS_SHOWN = 50, 20
# Of budgets that others draw on too, no more is said than how full they are.
SHARED = ("team", "global")
NEARLY_FULL_PERCENT = 80


@me_pages.get("")
@requires_person
def me() -> str:
    """What is mine: use, budgets, requests for more, keys"""
    user_id = g.person_id
    team = _team_of(user_id)
    bound = [it for it in budgets.binding(Payer(user_id, team, None)) if it.period != "minute"]
    own = [it for it in bound if it.scope == "user"]
    return render(
        "me/me.html",
        budgets=own,
        shared=[it for it in bound if it.scope in SHARED and it.mode == "enforce"],
        nearly_full_percent=NEARLY_FULL_PERCENT,
        days=overview.usage_of({"user": user_id}),
        models=overview.models_of({"user": user_id}),
        keys=access.key_page(KeyFilter(user_id=user_id), KEYS_SHOWN)[0],
        requests=raise_requests.page(REQUESTS_SHOWN, subject=user_id)[0],
    )


@me_pages.post("/requests-for-more")
@requires_person
def ask_for_more() -> Any:
    """Ask for more of one of my budgets"""
    budget_id = forms.whole("budget_id")
    metric = budgets.one(budget_id).metric if budget_id else ""
    said = {
        "budget_id": budget_id,
        "amount": forms.amount("amount", metric),
        "days": forms.whole("days"),
        "reason": forms.text("reason"),
    }
    body = forms.load(NewRaiseRequestSchema(), said)
    raise_requests.ask(g.person_id, body.pop("budget_id"), **body)
    done(_("Your request was sent; the answer appears here."))
    return back_to(".me")


@me_pages.get("/sign-in")
@open_to("everyone")
def sign_in() -> str:
    """Say how to sign in"""
    return render_template(
        "me/sign_in.html", wanted=wanted_address(), has_oidc=bool(settings.pages.oidc.issuer)
    )


@me_pages.get("/link/<token>")
@open_to("everyone")
def show_link(token: str) -> str:
    """Ask whoever opens a link to go on: what only looks at links uses none up"""
    return render_template("me/link.html", token=token)


@me_pages.post("/link/<token>")
@open_to("everyone")
def use_link(token: str) -> Any:
    """Sign in by a link, once"""
    page_sessions.require_patience(client_address())
    chosen = language()
    try:
        user_id = page_sessions.take_link(token)
    except SignInRefusedError as refusal:
        page_sessions.refused(client_address())
        page = render_template("me/sign_in.html", problem=describe(refusal, chosen), wanted=None)
        return page, refusal.status
    return begin_as(user_id, "link")


def begin_as(user_id: str, way: str) -> Any:
    """Begin the person's session, and show them their page."""
    chosen = language()
    with acting_as(PERSON_POLICY):
        keep_session(page_sessions.begin_as(user_id, way))
    session[LANGUAGE] = chosen
    return redirect(url_for("me_pages.me"), 303)


def _team_of(user_id: str) -> str | None:
    try:
        team: str | None = people.person(user_id)["team"]
    except PersonNotFoundError:
        # Whoever has not called yet is bound by budgets for everybody.
        return None
    return team
