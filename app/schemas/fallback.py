"""What would become of a call."""

from __future__ import annotations

from marshmallow import fields

from app.schemas.base import Answer, Asked
from app.schemas.fields import Integer, Listed, Text

# What a question and its answer often have.
INPUT_TOKENS, OUTPUT_TOKENS = 1_000, 500
MOST_TOKENS = 10**8


class SimulationQuery(Asked):
    model = Text(required=True, metadata={"description": "A model or a group of the catalogue."})
    down = Listed(Text(), load_default=(), metadata={"description": "Models assumed to be down."})
    user = Text(load_default=None, metadata={"description": "Whose budgets and kill switches."})
    input_tokens = Integer(most=MOST_TOKENS, in_query=True, load_default=INPUT_TOKENS)
    output_tokens = Integer(least=1, most=MOST_TOKENS, in_query=True, load_default=OUTPUT_TOKENS)


class SimulatedErrorSchema(Answer):
    status = fields.Integer(required=True)
    code = fields.String(required=True)
    message = fields.String(required=True)


class SimulatedStepSchema(Answer):
    model = fields.String(required=True)
    provider = fields.String(required=True)
    outcome = fields.String(
        required=True, metadata={"description": "answered, failed, skipped or not_tried."}
    )
    reason = fields.String(required=True, allow_none=True)
    cost_micro_usd = fields.Integer(required=True)
    difference_micro_usd = fields.Integer(
        required=True, metadata={"description": "Than the first of the chain."}
    )


class SimulationSchema(Answer):
    model = fields.String(required=True)
    user = fields.String(required=True, allow_none=True)
    team = fields.String(required=True, allow_none=True)
    input_tokens = fields.Integer(required=True)
    output_tokens = fields.Integer(required=True)
    answered_by = fields.String(required=True, allow_none=True)
    error = fields.Nested(SimulatedErrorSchema, required=True, allow_none=True)
    path = fields.List(fields.Nested(SimulatedStepSchema), required=True)
