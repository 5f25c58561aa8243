"""What was used."""

from __future__ import annotations

from marshmallow import ValidationError, fields, validates_schema

from app.audit.queries import DIMENSIONS
from app.schemas.base import Answer, PageQuery, cursor_field
from app.schemas.fields import Choice, Day, Integer, Listed, Text

FORMATS = ("json", "csv")
MOST_ROWS = 10_000


class DaysQuery(PageQuery):
    """Days from the first to the last, both included; without one, as far as there is anything."""

    first = Day(data_key="from", load_default=None, metadata={"description": "The first day."})
    last = Day(
        data_key="to", load_default=None, metadata={"description": "The last day, included."}
    )

    @validates_schema
    def _in_order(self, data: dict[str, object], **_options: object) -> None:
        first, last = data.get("first"), data.get("last")
        if first and last and first > last:  # type: ignore[operator]  # both are days
            raise ValidationError("not_in_order", "from")


class UsageQuery(DaysQuery):
    group_by = Listed(
        Choice(tuple(DIMENSIONS)),
        least=1,
        load_default=["user"],
        metadata={"description": "user, team, model, key, day: one or several, none twice."},
    )
    user = Text(load_default=None, metadata={"description": "Only this person's."})
    team = Text(load_default=None, metadata={"description": "Only this team's."})
    form = Choice(FORMATS, data_key="format", load_default="json")
    limit = Integer(least=1, most=MOST_ROWS, in_query=True, load_default=1_000)
    cursor = cursor_field(int)

    @validates_schema
    def _none_twice(self, data: dict[str, object], **_options: object) -> None:
        names = data.get("group_by")
        if isinstance(names, list) and len(set(names)) != len(names):
            raise ValidationError("not_valid", "group_by")


class UsageRowSchema(Answer):
    """What was asked by, null where there is nobody, and the sums."""

    user = fields.String(allow_none=True)
    team = fields.String(allow_none=True)
    model = fields.String(allow_none=True)
    key = fields.String(allow_none=True)
    day = fields.Date()
    requests = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    estimated = fields.Integer(required=True)
    input_tokens = fields.Integer(required=True)
    output_tokens = fields.Integer(required=True)
    cost_micro_usd = fields.Integer(required=True)
