"""Two ledgers compared, a day at a time; money in micro-USD."""

from __future__ import annotations

from datetime import date

from marshmallow import fields

from app.schemas.base import Answer, cursor_field
from app.schemas.fields import Moment
from app.schemas.usage import DaysQuery


class ReconciliationQuery(DaysQuery):
    cursor = cursor_field(date)


class ReconciledDaySchema(Answer):
    day = fields.Date(required=True)
    timezone = fields.String(required=True)
    reconciled_at = Moment(required=True)
    good = fields.Boolean(required=True, attribute="is_good")
    matched = fields.Integer(required=True)
    missing_here = fields.Integer(required=True)
    missing_there = fields.Integer(required=True)
    differing = fields.Integer(required=True)
    estimated = fields.Integer(required=True)
    adjusted = fields.Integer(required=True)
    difference_micro_usd = fields.Integer(required=True)
    adjusted_micro_usd = fields.Integer(required=True)


class ModelSumsSchema(Answer):
    model = fields.String(required=True, allow_none=True)
    matched = fields.Integer(required=True)
    missing_here = fields.Integer(required=True)
    missing_there = fields.Integer(required=True)
    differing = fields.Integer(required=True)
    estimated = fields.Integer(required=True)
    adjusted = fields.Integer(required=True)
    our_micro_usd = fields.Integer(required=True)
    litellm_micro_usd = fields.Integer(required=True)
    difference_micro_usd = fields.Integer(required=True)


class ReconciliationSchema(ReconciledDaySchema):
    """``discrepancies``: the first of them; the counts are of all."""

    models = fields.List(fields.Nested(ModelSumsSchema), required=True)
    discrepancies = fields.List(fields.Dict(), required=True)
