"""Requests: what came in just now, and one request's whole story."""

from __future__ import annotations

from typing import Any

from flask import Response, render_template, request

from app.audit.queries import EventFilter
from app.extensions import audit_reader, stories
from app.routes.access import AUDITORS
from app.routes.pages import forms
from app.routes.pages.guard import requires_session
from app.routes.pages.pager import Pager, this_address
from app.routes.pages.shell import admin_pages, is_fragment, render
from app.schemas.audit import AuditQuery

# What is a call, to those who look for one.
REFUSALS, CALLS = "refusal", "request"
KINDS = (CALLS, REFUSALS)
FILTERS = ("user", "team", "key", "model", "status", "since", "until", "request")


@admin_pages.get("/requests")
@requires_session(*AUDITORS)
def list_requests() -> Any:
    """Calls, the newest first; the list renews itself while it is looked at"""
    asked = forms.query(AuditQuery())
    found, position = audit_reader.event_page(_wanted(asked))
    newest = found[0].event_id if found else ""
    if is_fragment() and request.args.get("newest") == newest:
        return Response(status=204)
    said = {name: it for name, it in request.args.items() if name != "newest"}
    values = {
        "events": found,
        "asked": asked,
        "pager": Pager(position),
        "newest": newest,
        "poll_url": this_address(said),
    }
    if is_fragment():
        return render_template("admin/_request_rows.html", **values)
    return render("admin/requests.html", **values)


@admin_pages.get("/requests/<name:request_id>")
@requires_session(*AUDITORS)
def show_request(request_id: str) -> str:
    """One request, from its hold to its settlement, with the path it took"""
    return render("admin/request.html", story=stories.story(request_id))


def _wanted(asked: dict[str, Any]) -> EventFilter:
    filters = {name: asked[name] for name in FILTERS}
    kind = asked["event"] if asked["event"] in KINDS else None
    return EventFilter(
        **filters, events=(kind,) if kind else KINDS, before=asked["cursor"], limit=asked["limit"]
    )
