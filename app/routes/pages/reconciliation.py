"""Two ledgers compared: the days, and one day with its discrepancies."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext as _

from app.extensions import reconciliation
from app.routes.access import ADMINS, AUDITORS
from app.routes.admin.converters import day_of
from app.routes.pages import forms
from app.routes.pages.guard import requires_session
from app.routes.pages.pager import Pager
from app.routes.pages.shell import admin_pages, back_to, done, render
from app.schemas.reconciliation import ReconciliationQuery


@admin_pages.get("/reconciliation")
@requires_session(*AUDITORS)
def list_reconciliations() -> str:
    """The days that were compared, the latest first"""
    asked = forms.query(ReconciliationQuery())
    (before,) = asked["cursor"] or (None,)
    days, last = reconciliation.page(asked["first"], asked["last"], asked["limit"], before)
    return render(
        "admin/reconciliations.html",
        days=days,
        asked=asked,
        pager=Pager((last,) if last else None),
    )


@admin_pages.get("/reconciliation/<day:day>")
@requires_session(*AUDITORS)
def show_reconciliation(day: str) -> str:
    """One day, with its sums by model and the discrepancies"""
    return render("admin/reconciliation.html", it=reconciliation.result(day_of(day)))


@admin_pages.post("/reconciliation")
@requires_session(*ADMINS)
def reconcile_day() -> Any:
    """Compare a day, again too"""
    day = day_of(forms.text("day") or "")
    reconciliation.reconcile(day)
    done(_("Compared."))
    return back_to(".show_reconciliation", day=day.isoformat())
