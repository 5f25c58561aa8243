"""The audit trail: a search, and its verification with progress."""

from __future__ import annotations

from typing import Any

from flask import render_template
from flask_babel import gettext as _

from app.audit.queries import EventFilter
from app.extensions import audit_reader, trail_verification
from app.routes.access import AUDITORS
from app.routes.pages import forms, words
from app.routes.pages.guard import requires_session
from app.routes.pages.pager import Pager
from app.routes.pages.shell import admin_pages, back_to, done, is_fragment, render
from app.schemas.audit import AuditQuery, VerifyQuery

RUNS_SHOWN = 10


@admin_pages.get("/audit")
@requires_session(*AUDITORS)
def search_audit() -> str:
    """Events, newest first"""
    asked = forms.query(AuditQuery())
    wanted = {name: it for name, it in asked.items() if name != "cursor"}
    found, position = audit_reader.event_page(EventFilter(**wanted, before=asked["cursor"]))
    return render(
        "admin/audit.html",
        events=found,
        asked=asked,
        pager=Pager(position),
        kinds=sorted(words.EVENTS, key=lambda it: words.word(words.EVENTS, it).casefold()),
    )


@admin_pages.get("/audit/verification")
@requires_session(*AUDITORS)
def show_verification() -> str:
    """Verifications, the one under way with its progress"""
    runs = trail_verification.runs(RUNS_SHOWN)
    under_way = next((it for it in runs if trail_verification.is_under_way(it)), None)
    values: dict[str, Any] = {"runs": runs, "under_way": under_way}
    if is_fragment():
        return render_template("admin/_verification.html", **values)
    return render("admin/verification.html", **values)


@admin_pages.post("/audit/verification")
@requires_session(*AUDITORS)
def start_verification() -> Any:
    """Verify the trail, beside everything else"""
    body = forms.load(VerifyQuery(), {"since": forms.text("since")})
    trail_verification.start(body["since"])
    done(_("The verification has begun."))
    return back_to(".show_verification")
