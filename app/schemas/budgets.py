"""Budgets, and raises of them for a while; amounts in tokens, micro-USD or requests."""

from __future__ import annotations

from marshmallow import fields

from app.ledger.periods import PERIODS
from app.ledger.rules import METRICS, MODES, SCOPES
from app.schemas.base import Answer, Asked, PageQuery, cursor_field
from app.schemas.fields import Choice, Flag, Integer, Moment, Text
from app.services.raise_request_service import MOST_DAYS
from app.services.raise_request_store import MAX_REASON_LENGTH
from app.services.raise_request_store import STATES as REQUEST_STATES

# More than any company has, and a sum of many of these still is a number of Postgres's.
MOST_AMOUNT = 10**15


class BudgetQuery(PageQuery):
    scope = Choice(SCOPES, load_default=None)
    subject = Text(load_default=None, metadata={"description": "Whose line."})
    metric = Choice(METRICS, load_default=None)
    period = Choice(PERIODS, load_default=None)
    mode = Choice(MODES, load_default=None)
    cursor = cursor_field(int, str)


class NewBudgetSchema(Asked):
    scope = Choice(SCOPES, required=True)
    subject = Text(
        least=0,
        load_default="",
        metadata={
            "description": "Whose it is; empty for the global one, * for each who has none of "
            "their own."
        },
    )
    metric = Choice(METRICS, required=True)
    period = Choice(PERIODS, required=True)
    limit = Integer(most=MOST_AMOUNT, required=True)
    mode = Choice(MODES, load_default="enforce")


class BudgetChangeSchema(Asked):
    limit = Integer(most=MOST_AMOUNT)
    mode = Choice(MODES)


class BudgetSchema(Answer):
    """One line: how a budget stands for a subject, in its present period."""

    id = fields.Integer(required=True, metadata={"description": "Of the budget, not of the line."})
    scope = fields.String(required=True)
    subject = fields.String(required=True)
    metric = fields.String(required=True)
    period = fields.String(required=True)
    mode = fields.String(required=True)
    limit = fields.Integer(required=True)
    raised = fields.Integer(
        required=True, metadata={"description": "By raises that last; `left` counts them."}
    )
    posted = fields.Integer(required=True)
    pending = fields.Integer(required=True)
    left = fields.Integer(required=True)
    would_refuse = fields.Integer(required=True)
    credited = fields.Integer(required=True)
    renews_at = Moment(required=True)
    is_everybodys = fields.Boolean(
        required=True, metadata={"description": "Of a budget for each who has none of their own."}
    )


class RaiseQuery(PageQuery):
    budget = Integer(least=1, in_query=True, load_default=None)
    subject = Text(load_default=None)
    past = Flag(in_query=True, load_default=False)
    cursor = cursor_field(int)


class NewRaiseSchema(Asked):
    amount = Integer(least=1, most=MOST_AMOUNT, required=True)
    expires_at = Moment(required=True)
    reason = Text(most=500, required=True)
    subject = Text(
        load_default=None, metadata={"description": "For whom, of a budget for everybody."}
    )


class RaiseSchema(Answer):
    id = fields.Integer(required=True)
    budget_id = fields.Integer(required=True)
    subject = fields.String(required=True)
    amount = fields.Integer(required=True)
    reason = fields.String(required=True)
    created_at = Moment(required=True)
    created_by = fields.String(required=True)
    expires_at = Moment(required=True)
    ended_at = Moment(required=True, allow_none=True)
    ended_by = fields.String(required=True, allow_none=True)


class RaiseRequestQuery(PageQuery):
    state = Choice(REQUEST_STATES, load_default=None)
    subject = Text(load_default=None, metadata={"description": "Who asks."})
    cursor = cursor_field(int)


class NewRaiseRequestSchema(Asked):
    budget_id = Integer(least=1, required=True)
    amount = Integer(least=1, most=MOST_AMOUNT, required=True)
    days = Integer(least=1, most=MOST_DAYS, required=True)
    reason = Text(most=MAX_REASON_LENGTH, required=True)


class ApprovalSchema(Asked):
    """What was asked for, where nothing else is said."""

    amount = Integer(least=1, most=MOST_AMOUNT)
    days = Integer(least=1, most=MOST_DAYS)


class DeclineSchema(Asked):
    answer = Text(
        least=0,
        most=MAX_REASON_LENGTH,
        load_default="",
        metadata={"description": "Shown to the person."},
    )


class RaiseRequestSchema(Answer):
    id = fields.Integer(required=True)
    budget_id = fields.Integer(required=True)
    metric = fields.String(required=True)
    period = fields.String(required=True)
    limit = fields.Integer(required=True)
    subject = fields.String(required=True)
    amount = fields.Integer(required=True)
    days = fields.Integer(required=True)
    reason = fields.String(required=True)
    state = fields.String(required=True)
    created_at = Moment(required=True)
    decided_at = Moment(required=True, allow_none=True)
    decided_by = fields.String(required=True, allow_none=True)
    answer = fields.String(required=True)
    raise_id = fields.Integer(required=True, allow_none=True)
