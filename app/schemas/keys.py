"""API keys."""

from __future__ import annotations

from marshmallow import fields

from app.schemas.base import Answer, Asked, PageQuery, cursor_field
from app.schemas.fields import Choice, Flag, Integer, Moment, Several, Text
from app.services.access_service import ROLES
from app.services.key_store import STATES

LONGEST_GRACE_S = 90 * 86_400
DEFAULT_GRACE_S = 86_400


class KeyQuery(PageQuery):
    user = Text(load_default=None)
    team = Text(load_default=None)
    role = Choice(ROLES, load_default=None)
    state = Choice(STATES, load_default=None)
    cursor = cursor_field(int)


class NewKeySchema(Asked):
    name = Text(required=True, most=128)
    user = Text(load_default=None, metadata={"description": "The person it belongs to."})
    team = Text(load_default=None, metadata={"description": "The department it belongs to."})
    role = Choice(ROLES, load_default="user")
    trusted = Flag(
        load_default=False, metadata={"description": "May name the person behind each call."}
    )
    models = Several(
        Text(),
        load_default=None,
        allow_none=True,
        metadata={"description": "Models and groups it may call; null: all."},
    )
    expires_at = Moment(load_default=None, allow_none=True)


class KeyChangeSchema(Asked):
    models = Several(Text(), allow_none=True)
    expires_at = Moment(allow_none=True, metadata={"description": "Null: never."})


class RotationSchema(Asked):
    grace_s = Integer(
        most=LONGEST_GRACE_S,
        load_default=DEFAULT_GRACE_S,
        metadata={"description": "For so long the old one is good, too; 0: it ends now."},
    )


class KeySchema(Answer):
    """A key by its prefix; the key itself is stored nowhere."""

    id = fields.Integer(required=True)
    name = fields.String(required=True)
    prefix = fields.String(required=True)
    user = fields.String(required=True, allow_none=True, attribute="user_id")
    team = fields.String(required=True, allow_none=True, attribute="team_id")
    role = fields.String(required=True)
    trusted = fields.Boolean(required=True)
    models = fields.Function(
        lambda record: _sorted(record.allowed_models),
        required=True,
        metadata={"type": ["array", "null"], "items": {"type": "string"}},
    )
    created_at = Moment(required=True)
    expires_at = Moment(required=True, allow_none=True)
    replaced_at = Moment(required=True, allow_none=True)
    revoked_at = Moment(required=True, allow_none=True)


class MadeKeySchema(Answer):
    """``key`` is shown this once."""

    key = fields.String(required=True)
    record = fields.Nested(KeySchema, required=True)


def _sorted(models: frozenset[str] | None) -> list[str] | None:
    return None if models is None else sorted(models)
