"""People and teams."""

from __future__ import annotations

from marshmallow import fields

from app.schemas.base import Answer, Asked, PageQuery, cursor_field
from app.schemas.fields import Moment, Text

GIVEN_BACK = {"description": "Null leaves it to what clients say."}


class TeamQuery(PageQuery):
    q = Text(load_default=None, metadata={"description": "Within the id or the name."})
    cursor = cursor_field(str)


class PersonQuery(TeamQuery):
    team = Text(load_default=None)


class PersonChangeSchema(Asked):
    name = Text(allow_none=True, metadata=GIVEN_BACK)
    email = Text(allow_none=True, metadata=GIVEN_BACK)
    team = Text(allow_none=True, metadata=GIVEN_BACK)


class NewPersonSchema(PersonChangeSchema):
    id = Text(required=True)


class PersonSchema(Answer):
    """``role``: what the client calls them; it gives no right here."""

    id = fields.String(required=True)
    name = fields.String(required=True, allow_none=True)
    email = fields.String(required=True, allow_none=True)
    role = fields.String(required=True, allow_none=True)
    team = fields.String(required=True, allow_none=True)
    team_assigned = fields.Boolean(
        required=True, metadata={"description": "Given by an administrator."}
    )
    first_key = fields.String(required=True, allow_none=True)
    created_at = Moment(required=True)
    first_seen_at = Moment(required=True, allow_none=True)
    last_seen_at = Moment(required=True, allow_none=True)


class TeamChangeSchema(Asked):
    name = Text(required=True, allow_none=True)


class NewTeamSchema(Asked):
    id = Text(required=True)
    name = Text(load_default=None, allow_none=True)


class TeamSchema(Answer):
    id = fields.String(required=True)
    name = fields.String(required=True, allow_none=True)
    people = fields.Integer(required=True)
    created_at = Moment(required=True)


class SignInLinkSchema(Answer):
    """``url`` signs the person in to `/me`, once, until it expires."""

    user = fields.String(required=True)
    url = fields.String(required=True)
    expires_at = Moment(required=True)
