"""Alerts, the rules that they come from, and where they go."""

from __future__ import annotations

from datetime import datetime

from marshmallow import fields

from app.schemas.base import Answer, PageQuery, cursor_field
from app.schemas.fields import Flag, Moment


class AlertQuery(PageQuery):
    past = Flag(
        in_query=True, load_default=False, metadata={"description": "Those that are over, too."}
    )
    cursor = cursor_field(datetime, str)


class AlertSchema(Answer):
    id = fields.String(required=True)
    rule = fields.String(required=True)
    subject = fields.String(required=True)
    state = fields.String(required=True)
    severity = fields.String(required=True)
    opened_at = Moment(required=True)
    seen_at = Moment(required=True)
    ended_at = Moment(required=True, allow_none=True)
    acknowledged_at = Moment(required=True, allow_none=True)
    acknowledged_by = fields.String(required=True, allow_none=True)
    total = fields.Integer(required=True)
    untold = fields.Integer(
        required=True, metadata={"description": "Of the total, what no message has told yet."}
    )
    messages = fields.Integer(required=True)
    facts = fields.Dict(required=True)


class RuleSchema(Answer):
    rule = fields.String(required=True, attribute="name")
    severity = fields.String(required=True)
    more_than = fields.Integer(
        required=True, metadata={"description": "Counted in `within_s`; 0 and 0: not counted."}
    )
    more_than_of = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    within_s = fields.Integer(required=True)
    window_s = fields.Integer(required=True)
    quiet_s = fields.Integer(required=True, allow_none=True)
    escalate_after_s = fields.Integer(required=True)


class RulesSchema(Answer):
    data = fields.List(fields.Nested(RuleSchema), required=True)


class TargetSchema(Answer):
    name = fields.String(required=True)
    channel = fields.String(required=True)
    place = fields.String(required=True)


class ChannelSchema(TargetSchema):
    enabled = fields.Boolean(required=True)
    disabled_at = Moment(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    waiting = fields.Integer(required=True)
    last_sent_at = Moment(required=True, allow_none=True)


class ChannelsSchema(Answer):
    data = fields.List(fields.Nested(ChannelSchema), required=True)


class TriedSchema(TargetSchema):
    ok = fields.Boolean(required=True)
    error = fields.String(required=True, allow_none=True)


class TriedListSchema(Answer):
    data = fields.List(fields.Nested(TriedSchema), required=True)


class EnabledSchema(Answer):
    name = fields.String(required=True)
    was_disabled = fields.Boolean(required=True)
