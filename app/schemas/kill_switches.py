"""Kill switches."""

from __future__ import annotations

from marshmallow import fields

from app.schemas.base import Answer, Asked, PageQuery, cursor_field
from app.schemas.fields import Choice, Flag, Moment, Text
from app.services.kill_switch_store import MAX_REASON_LENGTH, SCOPES


class KillSwitchQuery(PageQuery):
    past = Flag(in_query=True, load_default=False)
    cursor = cursor_field(int)


class NewKillSwitchSchema(Asked):
    scope = Choice(SCOPES, required=True)
    subject = Text(
        least=0,
        load_default="",
        metadata={"description": "Which model, team or person; empty for all."},
    )
    reason = Text(
        most=MAX_REASON_LENGTH,
        required=True,
        metadata={"description": "Shown to those who are refused."},
    )
    expires_at = Moment(
        load_default=None,
        allow_none=True,
        metadata={"description": "None: until it is lifted."},
    )


class KillSwitchSchema(Answer):
    id = fields.Integer(required=True)
    scope = fields.String(required=True)
    subject = fields.String(required=True)
    reason = fields.String(required=True)
    thrown_at = Moment(required=True)
    thrown_by = fields.String(required=True)
    expires_at = Moment(required=True, allow_none=True)
    lifted_at = Moment(required=True, allow_none=True)
    lifted_by = fields.String(required=True, allow_none=True)
