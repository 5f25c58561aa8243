"""Models, and how LiteLLM and this process do."""

from __future__ import annotations

from marshmallow import fields, validate

from app.schemas.base import Answer

STATUSES = ("healthy", "unhealthy", "rate_limited", "unavailable")


class ListedModelSchema(Answer):
    id = fields.String(required=True)
    object = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    reason = fields.String(required=True, allow_none=True)
    last_check = fields.String(required=True, allow_none=True)
    response_time_ms = fields.Integer(required=True, allow_none=True)


class CallMetricsSchema(Answer):
    """The calls since the start, or the last reset."""

    total_requests = fields.Integer(required=True)
    successful_requests = fields.Integer(required=True)
    failed_requests = fields.Integer(required=True)
    fallback_requests = fields.Integer(required=True)
    success_rate_percent = fields.Float(required=True)
    fallback_rate_percent = fields.Float(required=True)
    avg_response_time_ms = fields.Float(required=True)
    total_cost_micro_usd = fields.Integer(required=True)
    total_cost_usd = fields.String(required=True)
    healthy_models = fields.Integer(required=True)
    total_models = fields.Integer(required=True)


class ModelsStatusSchema(Answer):
    models = fields.List(fields.Nested(ListedModelSchema), required=True)
    metrics = fields.Nested(CallMetricsSchema, required=True)
    last_update = fields.String(required=True)


class ModelInfoSchema(Answer):
    name = fields.String(required=True)
    provider = fields.String(required=True)
    status = fields.String(required=True)
    reason = fields.String(required=True, allow_none=True)
    since = fields.String(required=True, allow_none=True)
    last_check = fields.String(required=True, allow_none=True)
    response_time_ms = fields.Integer(required=True, allow_none=True)
    error_rate = fields.Float(required=True)
    cost_per_input_token = fields.String(required=True)
    cost_per_output_token = fields.String(required=True)
    max_tokens = fields.Integer(required=True)
    supports_vision = fields.Boolean(required=True)
    supports_function_calling = fields.Boolean(required=True)


class StatusSchema(Answer):
    status = fields.String(required=True)


class LiteLLMHealthSchema(Answer):
    status = fields.String(required=True)
    litellm_service = fields.String(required=True)
    models = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    metrics = fields.Nested(CallMetricsSchema, required=True)
    last_check = fields.String(required=True)
