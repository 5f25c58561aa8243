"""Today at a glance."""

from __future__ import annotations

from app.extensions import overview
from app.routes.access import READERS
from app.routes.pages.guard import requires_session
from app.routes.pages.shell import admin_pages, render


@admin_pages.get("/")
@requires_session(*READERS)
def home() -> str:
    """Spend against budgets, calls and failures, models, alerts, and what waits for an answer"""
    return render("admin/home.html", today=overview.today())
