"""Two ledgers that agree, or not: what was settled against what LiteLLM says, day by day."""

from __future__ import annotations

from typing import Any

from app.extensions import reconciliation
from app.reconciliation.result import Reconciliation
from app.routes.access import ADMINS, AUDITORS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.routes.admin.converters import day_of
from app.schemas.base import page, page_of
from app.schemas.reconciliation import (
    ReconciledDaySchema,
    ReconciliationQuery,
    ReconciliationSchema,
)

reconciliation_bp = AdminBlueprint(
    "reconciliation", __name__, "/reconciliation", "Our ledger against LiteLLM's"
)


@reconciliation_bp.get("")
@requires_role(*AUDITORS)
@reconciliation_bp.query(ReconciliationQuery)
@errors(422)
@reconciliation_bp.answers(200, page_of(ReconciledDaySchema))
def list_reconciliations(query: dict[str, Any]) -> dict[str, Any]:
    """The days that were compared, the latest first"""
    (before,) = query["cursor"] or (None,)
    days, last = reconciliation.page(query["first"], query["last"], query["limit"], before)
    return page(days, (last,) if last else None)


@reconciliation_bp.get("/<day:day>")
@requires_role(*AUDITORS)
@errors(404, 422)
@reconciliation_bp.answers(200, ReconciliationSchema)
def get_reconciliation(day: str) -> Reconciliation:
    """One day, with its sums by model and the discrepancies"""
    return reconciliation.result(day_of(day))


@reconciliation_bp.post("/<day:day>")
@requires_role(*ADMINS)
@errors(404, 409, 422)
@reconciliation_bp.answers(200, ReconciliationSchema)
def reconcile_day(day: str) -> Reconciliation:
    """Compare a day, again too; what was settled on an estimate is corrected where LiteLLM knows"""
    return reconciliation.reconcile(day_of(day))
