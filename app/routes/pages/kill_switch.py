"""Kill switches: thrown with a clear confirmation, lifted with one click."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_babel import gettext as _

from app.extensions import catalog, kill_switch
from app.routes.access import ADMINS, AUDITORS
from app.routes.pages import forms
from app.routes.pages.guard import requires_session
from app.routes.pages.pager import Pager
from app.routes.pages.shell import admin_pages, back_to, done, render
from app.schemas.kill_switches import KillSwitchQuery, NewKillSwitchSchema
from app.utils.exceptions import InvalidFieldError


@admin_pages.get("/kill-switch")
@requires_session(*AUDITORS)
def list_kill_switches() -> str:
    """Those that are thrown, or all of them; and the form to throw one"""
    asked = forms.query(KillSwitchQuery())
    (before,) = asked["cursor"] or (None,)
    found, last = kill_switch.page(asked["limit"], past=asked["past"], before=before)
    return render(
        "admin/kill_switch.html",
        switches=found,
        asked=asked,
        pager=Pager((last,) if last else None),
        models=list(catalog.models),
        scope=request.args.get("scope", "all"),
        subject=request.args.get("subject", ""),
    )


@admin_pages.post("/kill-switch")
@requires_session(*ADMINS)
def throw_kill_switch() -> Any:
    """Refuse calls; every worker obeys within 2 seconds"""
    if not forms.text("sure"):
        raise InvalidFieldError("required", param="sure")
    said = {
        "scope": forms.text("scope"),
        "subject": forms.text("subject") or "",
        "reason": forms.text("reason"),
        "expires_at": forms.moment("expires_at"),
    }
    kill_switch.throw(**forms.load(NewKillSwitchSchema(), said))
    done(_("The kill switch is thrown: calls are refused within 2 seconds."))
    return back_to(".list_kill_switches")


@admin_pages.post("/kill-switch/<number:switch_id>/lift")
@requires_session(*ADMINS)
def lift_kill_switch(switch_id: int) -> Any:
    """Let calls pass again"""
    kill_switch.lift(switch_id)
    done(_("Lifted: calls pass again within 2 seconds."))
    return back_to(".list_kill_switches")
