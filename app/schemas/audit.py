"""The audit trail."""

from __future__ import annotations

from datetime import datetime

from marshmallow import fields

from app.schemas.base import Answer, Asked, PageQuery, cursor_field
from app.schemas.fields import Day, Integer, Moment, Text


class AuditQuery(PageQuery):
    request = Text(
        load_default=None, metadata={"description": "Everything about one request, by its id."}
    )
    user = Text(
        load_default=None,
        metadata={"description": "Of one person; of one who was erased, by the pseudonym."},
    )
    event = Text(
        load_default=None,
        metadata={"description": "Of one kind, such as request, refusal or budget_set."},
    )
    team = Text(load_default=None)
    key = Text(load_default=None, metadata={"description": "A key's name."})
    model = Text(
        load_default=None, metadata={"description": "The one asked for, or that answered."}
    )
    status = Integer(
        most=999, in_query=True, load_default=None, metadata={"description": "HTTP status."}
    )
    since = Moment(load_default=None)
    until = Moment(load_default=None, metadata={"description": "The moment after the last."})
    cursor = cursor_field(datetime, int)


class EventSchema(Answer):
    """One event; ``cost`` in micro-USD."""

    event_id = fields.String(required=True)
    request_id = fields.String(required=True, allow_none=True)
    event = fields.String(required=True)
    at = Moment(required=True)
    user = fields.String(required=True, allow_none=True)
    team = fields.String(required=True, allow_none=True)
    key = fields.String(required=True, allow_none=True)
    model = fields.String(required=True, allow_none=True)
    model_used = fields.String(required=True, allow_none=True)
    status = fields.Integer(required=True, allow_none=True)
    tokens = fields.Integer(required=True, allow_none=True)
    cost = fields.Integer(required=True, allow_none=True)
    input_tokens = fields.Integer(required=True, allow_none=True)
    output_tokens = fields.Integer(required=True, allow_none=True)
    is_estimated = fields.Boolean(required=True)
    latency_ms = fields.Integer(required=True, allow_none=True)
    first_byte_ms = fields.Integer(required=True, allow_none=True)
    path = fields.List(
        fields.Dict(),
        required=True,
        metadata={"description": "Each model that was tried or skipped, and why."},
    )
    detail = fields.Dict(required=True)
    private = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "Null where it cannot be read: erased, or changed."},
    )


class VerifyQuery(Asked):
    since = Day(load_default=None, metadata={"description": "Only from this day of UTC on."})


class FindingSchema(Answer):
    """The first row that is not what was written."""

    problem = fields.String(required=True)
    seq = fields.Integer(required=True, allow_none=True)
    event_id = fields.String(required=True, allow_none=True)
    checkpoint = fields.Integer(required=True, allow_none=True)
    name = fields.Integer(required=True, allow_none=True)
    key_id = fields.String(required=True, allow_none=True)
    missing = fields.Integer(required=True, allow_none=True)
    was_seq = fields.Integer(required=True, allow_none=True)


class ReportSchema(Answer):
    good = fields.Boolean(required=True)
    rows = fields.Integer(required=True)
    checkpoints = fields.Integer(required=True)
    names = fields.Integer(required=True)
    dropped_rows = fields.Integer(required=True)
    since = Moment(required=True, allow_none=True)
    finding = fields.Nested(FindingSchema, required=True, allow_none=True)
    has_anchor = fields.Boolean(
        required=True, metadata={"description": "Whether a cut tail would have shown."}
    )
