"""Budgets: limits, how they stand, and raises of them for a while."""

from __future__ import annotations

from typing import Any

from app.extensions import budgets, raise_requests, raises
from app.ledger.raises import RaiseRecord
from app.ledger.standings import BEFORE_ALL, BudgetFilter
from app.routes.access import ADMINS, READERS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.schemas.base import page, page_of
from app.schemas.budgets import (
    ApprovalSchema,
    BudgetChangeSchema,
    BudgetQuery,
    BudgetSchema,
    DeclineSchema,
    NewBudgetSchema,
    NewRaiseSchema,
    RaiseQuery,
    RaiseRequestQuery,
    RaiseRequestSchema,
    RaiseSchema,
)
from app.services.budget_service import BudgetState
from app.services.raise_request_store import RaiseRequest

budgets_bp = AdminBlueprint("budgets", __name__, "/budgets", "Budgets and rate limits")
raise_requests_bp = AdminBlueprint(
    "raise-requests", __name__, "/raise-requests", "People's requests for more"
)
raises_bp = AdminBlueprint("raises", __name__, "/raises", "Raises of budgets for a while")


@budgets_bp.get("")
@requires_role(*READERS)
@budgets_bp.query(BudgetQuery)
@errors(422)
@budgets_bp.answers(200, page_of(BudgetSchema))
def list_budgets(query: dict[str, Any]) -> dict[str, Any]:
    """Budgets with what is posted, pending and left, and when they renew

    A budget for everybody has a line for each who has drawn on it in the present period.
    """
    limit, after = query.pop("limit"), query.pop("cursor")
    found, last = budgets.page(BudgetFilter(**query), limit, after or BEFORE_ALL)
    return page(found, last)


@budgets_bp.post("")
@requires_role(*ADMINS)
@budgets_bp.body(NewBudgetSchema)
@errors(400, 409, 422)
@budgets_bp.answers(201, BudgetSchema)
def create_budget(body: dict[str, Any]) -> BudgetState:
    """Make a budget; every worker obeys within 2 seconds"""
    return budgets.create(**body)


@budgets_bp.get("/<number:budget_id>")
@requires_role(*READERS)
@errors(404)
@budgets_bp.answers(200, BudgetSchema)
def get_budget(budget_id: int) -> BudgetState:
    """One budget, and how its own line stands"""
    return budgets.state(budget_id)


@budgets_bp.patch("/<number:budget_id>")
@requires_role(*ADMINS)
@budgets_bp.body(BudgetChangeSchema)
@errors(400, 404, 422)
@budgets_bp.answers(200, BudgetSchema)
def change_budget(body: dict[str, Any], budget_id: int) -> BudgetState:
    """Change a budget's limit or mode; every worker obeys within 2 seconds"""
    return budgets.change(budget_id, **body)


@budgets_bp.delete("/<number:budget_id>")
@requires_role(*ADMINS)
@errors(404)
@budgets_bp.answers(204)
def remove_budget(budget_id: int) -> None:
    """Take a budget away, and its raises; what was spent stays recorded"""
    budgets.remove_by_id(budget_id)


@budgets_bp.post("/<number:budget_id>/raises")
@requires_role(*ADMINS)
@budgets_bp.body(NewRaiseSchema)
@errors(400, 404, 422)
@budgets_bp.answers(201, RaiseSchema)
def raise_budget(body: dict[str, Any], budget_id: int) -> RaiseRecord:
    """Raise a budget for a while; every worker obeys within 2 seconds"""
    return raises.grant(budget_id, **body)


@raises_bp.get("")
@requires_role(*READERS)
@raises_bp.query(RaiseQuery)
@errors(422)
@raises_bp.answers(200, page_of(RaiseSchema))
def list_raises(query: dict[str, Any]) -> dict[str, Any]:
    """Raises that last, the latest first"""
    (before,) = query.pop("cursor") or (None,)
    found, last = raises.page(query.pop("limit"), **query, before=before)
    return page(found, (last,) if last else None)


@raises_bp.delete("/<number:raise_id>")
@requires_role(*ADMINS)
@errors(404)
@raises_bp.answers(200, RaiseSchema)
def end_raise(raise_id: int) -> RaiseRecord:
    """End a raise before its time"""
    return raises.end(raise_id)


@raise_requests_bp.get("")
@requires_role(*READERS)
@raise_requests_bp.query(RaiseRequestQuery)
@errors(422)
@raise_requests_bp.answers(200, page_of(RaiseRequestSchema))
def list_raise_requests(query: dict[str, Any]) -> dict[str, Any]:
    """Who asks for more of their budget, the latest first"""
    (before,) = query.pop("cursor") or (None,)
    limit = query.pop("limit")
    found, last = raise_requests.page(limit, **query, before=before)
    return page(found, (last,) if last else None)


@raise_requests_bp.post("/<number:request_id>/approve")
@requires_role(*ADMINS)
@raise_requests_bp.body(ApprovalSchema)
@errors(400, 404, 409, 422)
@raise_requests_bp.answers(200, RaiseRequestSchema)
def approve_raise_request(body: dict[str, Any], request_id: int) -> RaiseRequest:
    """Grant what was asked for, or another amount or time; it binds within 2 seconds"""
    return raise_requests.approve(request_id, **body)


@raise_requests_bp.post("/<number:request_id>/decline")
@requires_role(*ADMINS)
@raise_requests_bp.body(DeclineSchema)
@errors(400, 404, 409, 422)
@raise_requests_bp.answers(200, RaiseRequestSchema)
def decline_raise_request(body: dict[str, Any], request_id: int) -> RaiseRequest:
    """Decline, and say why; the person sees it on their page"""
    return raise_requests.decline(request_id, **body)
