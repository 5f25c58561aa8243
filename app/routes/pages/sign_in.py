"""Signing in to `/admin/` with a key, and out; the language."""

from __future__ import annotations

from typing import Any

from flask import current_app, redirect, render_template, request, session, url_for
from flask_babel import gettext as _

from app.config.problems import LOCALES
from app.extensions import describe, page_sessions
from app.routes.access import acting_as, open_to
from app.routes.client_address import client_address
from app.routes.pages.guard import TOKEN, keep_session, wanted_address
from app.routes.pages.shell import LANGUAGE, admin_pages, back_to, error_page, language, me_pages
from app.utils.exceptions import SignInRefusedError

MAX_KEY_LENGTH = 512


@admin_pages.get("/sign-in")
@open_to("everyone")
def sign_in() -> str:
    """Ask for a key"""
    return render_template("sign_in.html", wanted=wanted_address(), problem=None)


@admin_pages.post("/sign-in")
@open_to("everyone")
def begin_session() -> Any:
    """Sign in with a key; what it is told when it does not open the pages, says nothing of it"""
    page_sessions.require_patience(client_address())
    key, chosen = request.form.get("key", "").strip()[:MAX_KEY_LENGTH], language()
    try:
        caller = current_app.ensure_sync(page_sessions.caller_of)(key)
    except SignInRefusedError as refusal:
        page_sessions.refused(client_address())
        problem = describe(refusal, chosen)
        page = render_template("sign_in.html", wanted=wanted_address(), problem=problem)
        return page, refusal.status
    with acting_as(f"key:{caller.key_name}"):
        keep_session(page_sessions.begin(key, caller))
    session[LANGUAGE] = chosen
    return redirect(wanted_address() or url_for("admin_pages.home"), 303)


@admin_pages.post("/sign-out")
@open_to("everyone")
def end_session() -> Any:
    """End this browser's session, on the server too"""
    _end()
    return back_to("admin_pages.sign_in")


@me_pages.post("/sign-out")
@open_to("everyone")
def end_persons_session() -> Any:
    """End this browser's session, on the server too"""
    _end()
    return back_to("me_pages.sign_in")


@admin_pages.post("/language")
@open_to("everyone")
def choose_language() -> Any:
    """Remember the reader's language"""
    return _chosen(url_for("admin_pages.home"))


@me_pages.post("/language")
@open_to("everyone")
def choose_persons_language() -> Any:
    """Remember the reader's language"""
    return _chosen(url_for("me_pages.me"))


@admin_pages.route("/<path:_rest>", methods=["GET", "POST"])
@open_to("everyone")
def nowhere(_rest: str) -> tuple[str, int]:
    """Answer as a page where there is none"""
    return error_page(404, _("There is no page at this address."))


@me_pages.route("/<path:_rest>", methods=["GET", "POST"])
@open_to("everyone")
def nowhere_of_mine(_rest: str) -> tuple[str, int]:
    """Answer as a page where there is none"""
    return error_page(404, _("There is no page at this address."))


def _end() -> None:
    token, chosen = session.get(TOKEN), language()
    if isinstance(token, str):
        page_sessions.end(token)
    session.clear()
    session[LANGUAGE] = chosen


def _chosen(otherwise: str) -> Any:
    chosen = request.form.get("language", "")
    if chosen in LOCALES:
        session[LANGUAGE] = chosen
    return redirect(wanted_address() or otherwise, 303)
