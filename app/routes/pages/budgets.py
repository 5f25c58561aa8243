"""Budgets: how they stand, limits, raises, requests for more, and whom a shadow would stop."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_babel import gettext as _

from app.extensions import budgets, raise_requests, raises
from app.ledger.standings import BEFORE_ALL, BudgetFilter
from app.routes.access import ADMINS, READERS
from app.routes.pages import forms
from app.routes.pages.guard import requires_session
from app.routes.pages.pager import Pager
from app.routes.pages.shell import admin_pages, back_to, done, render
from app.schemas.budgets import (
    ApprovalSchema,
    BudgetChangeSchema,
    BudgetQuery,
    DeclineSchema,
    NewBudgetSchema,
    NewRaiseSchema,
    RaiseRequestQuery,
)

STOPPED_SHOWN, RAISES_SHOWN, LINES_SHOWN = 50, 50, 50


@admin_pages.get("/budgets")
@requires_session(*READERS)
def list_budgets() -> str:
    """Budgets with what is posted, pending and left, and when they renew; to set one"""
    asked = forms.query(BudgetQuery())
    after = asked["cursor"] or BEFORE_ALL
    names = ("scope", "subject", "metric", "period", "mode")
    wanted = BudgetFilter(**{it: asked[it] for it in names})
    found, last = budgets.page(wanted, asked["limit"], after)
    return render("admin/budgets.html", budgets=found, asked=asked, pager=Pager(last))


@admin_pages.post("/budgets")
@requires_session(*ADMINS)
def create_budget() -> Any:
    """Set a budget; every worker obeys within 2 seconds"""
    metric = forms.text("metric") or ""
    said = {
        **{it: forms.text(it) for it in ("scope", "metric", "period", "mode")},
        "subject": forms.text("subject") or "",
        "limit": forms.amount("limit", metric),
    }
    made = budgets.create(**forms.load(NewBudgetSchema(), said))
    done(_("The budget is set; every worker obeys within 2 seconds."))
    return back_to(".show_budget", budget_id=made.id)


@admin_pages.get("/budgets/<number:budget_id>")
@requires_session(*READERS)
def show_budget(budget_id: int) -> str:
    """One budget: its lines, raises, and whom it would have stopped"""
    asked = forms.query(BudgetQuery())
    budget = budgets.state(budget_id)
    after = asked["cursor"] or BEFORE_ALL
    wanted = BudgetFilter(budget=budget_id, subject=asked["subject"])
    lines, last = budgets.page(wanted, LINES_SHOWN, after)
    return render(
        "admin/budget.html",
        budget=budget,
        lines=lines,
        asked=asked,
        pager=Pager(last),
        raises=raises.page(RAISES_SHOWN, budget=budget_id)[0],
        stopped=budgets.would_stop(budget_id, STOPPED_SHOWN) if budget.mode == "shadow" else None,
    )


@admin_pages.post("/budgets/<number:budget_id>")
@requires_session(*ADMINS)
def change_budget(budget_id: int) -> Any:
    """Change a budget's limit or mode"""
    metric = budgets.one(budget_id).metric
    said = {"limit": forms.amount("limit", metric), "mode": forms.text("mode")}
    budgets.change(budget_id, **forms.load(BudgetChangeSchema(), said))
    done(_("Saved; every worker obeys within 2 seconds."))
    return back_to(".show_budget", budget_id=budget_id)


@admin_pages.post("/budgets/<number:budget_id>/remove")
@requires_session(*ADMINS)
def remove_budget(budget_id: int) -> Any:
    """Take a budget away"""
    budgets.remove_by_id(budget_id)
    done(_("The budget is gone; what was spent stays recorded."))
    return back_to(".list_budgets")


@admin_pages.post("/budgets/<number:budget_id>/raises")
@requires_session(*ADMINS)
def raise_budget(budget_id: int) -> Any:
    """Raise a budget for a while"""
    said = {
        "amount": forms.amount("amount", budgets.one(budget_id).metric),
        "expires_at": forms.moment("expires_at"),
        "reason": forms.text("reason"),
        "subject": forms.text("subject"),
    }
    raises.grant(budget_id, **forms.load(NewRaiseSchema(), said))
    done(_("Raised; every worker obeys within 2 seconds."))
    if request.form.get("person"):
        return back_to(".show_person", user_id=request.form["person"])
    return back_to(".show_budget", budget_id=budget_id)


@admin_pages.post("/raises/<number:raise_id>/end")
@requires_session(*ADMINS)
def end_raise(raise_id: int) -> Any:
    """End a raise before its time"""
    ended = raises.end(raise_id)
    done(_("The raise has ended."))
    return back_to(".show_budget", budget_id=ended.budget_id)


@admin_pages.get("/requests-for-more")
@requires_session(*READERS)
def list_raise_requests() -> str:
    """Who asks for more, and what became of it"""
    asked = forms.query(RaiseRequestQuery())
    (before,) = asked["cursor"] or (None,)
    found, last = raise_requests.page(
        asked["limit"], state=asked["state"], subject=asked["subject"], before=before
    )
    return render(
        "admin/raise_requests.html",
        requests=found,
        asked=asked,
        pager=Pager((last,) if last else None),
    )


@admin_pages.post("/requests-for-more/<number:request_id>/approve")
@requires_session(*ADMINS)
def approve_raise_request(request_id: int) -> Any:
    """Grant what was asked for, or another amount or time"""
    metric = raise_requests.one(request_id).metric
    said = {"amount": forms.amount("amount", metric), "days": forms.whole("days")}
    raise_requests.approve(request_id, **forms.load(ApprovalSchema(), said))
    done(_("Approved: the budget is raised."))
    return back_to(".list_raise_requests")


@admin_pages.post("/requests-for-more/<number:request_id>/decline")
@requires_session(*ADMINS)
def decline_raise_request(request_id: int) -> Any:
    """Decline, and say why if you like"""
    body = forms.load(DeclineSchema(), {"answer": forms.text("answer")})
    raise_requests.decline(request_id, **body)
    done(_("Declined; the person sees it on their page."))
    return back_to(".list_raise_requests")
