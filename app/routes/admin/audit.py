"""The audit trail: what happened, and whether it is what was written."""

from __future__ import annotations

from typing import Any

from app.audit.queries import EventFilter
from app.extensions import audit_reader, trail_verification
from app.routes.access import AUDITORS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.schemas.audit import AuditQuery, EventSchema, ReportSchema, VerifyQuery
from app.schemas.base import page, page_of
from app.services.trail_verification import as_facts

audit_bp = AdminBlueprint("audit", __name__, "/audit", "The audit trail")


@audit_bp.get("")
@requires_role(*AUDITORS)
@audit_bp.query(AuditQuery)
@errors(422)
@audit_bp.answers(200, page_of(EventSchema))
def list_events(query: dict[str, Any]) -> dict[str, Any]:
    """Events, newest first

    By team, key, model or status a page may have fewer events than the limit, or none, and yet not
    be the last: go on while there is a `next_cursor`.
    """
    before = query.pop("cursor")
    events, position = audit_reader.event_page(EventFilter(**query, before=before))
    return page(events, position)


@audit_bp.get("/verify")
@requires_role(*AUDITORS)
@audit_bp.query(VerifyQuery)
@errors(409, 422)
@audit_bp.answers(200, ReportSchema)
def verify_trail(query: dict[str, Any]) -> dict[str, Any]:
    """Verify the trail, and name the first row that is wrong; a million rows take some seconds"""
    return as_facts(trail_verification.run(query["since"]))
