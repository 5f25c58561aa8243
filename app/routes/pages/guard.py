"""Who may see a page: every view states it with one of these decorators.

A session is not a key: what a browser sends by itself opens no route of the API, and a key in a
header opens no page.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from flask import Response, current_app, g, redirect, request, session, url_for
from werkzeug.wrappers import Response as BaseResponse

from app.extensions import page_sessions
from app.routes.access import POLICY_ATTRIBUTE, acting_as
from app.routes.pages.shell import is_fragment
from app.services.access_service import Caller
from app.services.page_session_store import PageSession

View = Callable[..., Any]

TOKEN = "token"  # noqa: S105  # its name
SESSION_POLICY = "session:"
PERSON_POLICY = "person"


def requires_session(*roles: str) -> Callable[[View], View]:
    """Let in who is signed in with a key of one of these roles; what they change goes on record
    as theirs."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(**view_args: Any) -> Any:
            caller = _caller()
            if caller is None:
                return _to_sign_in("admin_pages.sign_in")
            g.caller = caller
            caller.require_role(*roles)
            with acting_as(f"key:{caller.key_name}"):
                return view(**view_args)

        setattr(guarded, POLICY_ATTRIBUTE, SESSION_POLICY + ",".join(roles))
        return guarded

    return decorate


def requires_person(view: View) -> View:
    """Let in a person who is signed in to `/me`, to what is their own: `g.person_id`."""

    @wraps(view)
    def guarded(**view_args: Any) -> Any:
        found = current_session()
        if found is None or found.user_id is None:
            return _to_sign_in("me_pages.sign_in")
        g.person_id = found.user_id
        # Not which: the record says whose it is where it can be erased.
        with acting_as(PERSON_POLICY):
            return view(**view_args)

    setattr(guarded, POLICY_ATTRIBUTE, PERSON_POLICY)
    return guarded


def current_session() -> PageSession | None:
    token = session.get(TOKEN)
    return page_sessions.find(token) if isinstance(token, str) else None


def keep_session(token: str) -> None:
    """Begin with nothing that was known before: a session that somebody planted is none."""
    session.clear()
    session[TOKEN] = token


def wanted_address() -> str | None:
    """Return where whoever signs in wanted to go, if that is a page of ours."""
    wanted = request.values.get("next", "")
    parts = urlsplit(wanted)
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith(("/admin/", "/me"))
    return wanted if is_ours and "\\" not in wanted else None


def _caller() -> Caller | None:
    found = current_session()
    if found is None:
        return None
    caller: Caller | None = current_app.ensure_sync(page_sessions.caller)(found)
    return caller


def _to_sign_in(endpoint: str) -> BaseResponse:
    if is_fragment():
        # The whole page goes, not the part of it that asked.
        return Response(status=401, headers={"HX-Redirect": url_for(endpoint)})
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for(endpoint, next=wanted), 303)
