"""What was used, by whom, of what, when."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.audit.queries import SUMS, USAGE_OF
from app.extensions import audit_reader
from app.routes.access import READERS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.schemas.base import page, page_of
from app.schemas.usage import UsageQuery, UsageRowSchema
from app.utils.spreadsheet import csv_text

usage_bp = AdminBlueprint("usage", __name__, "/usage", "What was used")


@usage_bp.get("")
@requires_role(*READERS)
@usage_bp.query(UsageQuery)
@errors(422)
@usage_bp.may_answer(200, "As CSV", schema={"type": "string"}, content_type="text/csv")
@usage_bp.answers(200, page_of(UsageRowSchema))
def get_usage(query: dict[str, Any]) -> dict[str, Any] | Response:
    """Requests, tokens and money, summed; as CSV all of it in one answer"""
    by = query["group_by"]
    of = {it: query[it] for it in USAGE_OF if query[it] is not None}
    rows = audit_reader.usage(by, query["first"], query["last"], of)
    if query["form"] == "csv":
        return _csv([*by, *SUMS], rows)
    (start,) = query["cursor"] or (0,)
    end = start + query["limit"]
    return page(rows[start:end], (end,) if end < len(rows) else None)


def _csv(head: list[str], rows: list[dict[str, Any]]) -> Response:
    text = csv_text(head, (list(row.values()) for row in rows))
    response = Response(text, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="usage.csv"'
    return response
