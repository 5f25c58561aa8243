"""Models: how they do, what they cost; and LiteLLM."""

from __future__ import annotations

from typing import Any

from app.extensions import litellm
from app.routes.access import ADMINS, READERS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.schemas.models import (
    CallMetricsSchema,
    LiteLLMHealthSchema,
    ModelInfoSchema,
    ModelsStatusSchema,
    StatusSchema,
)
from app.utils.clock import SystemClock
from app.utils.exceptions import ModelNotFoundError

models_bp = AdminBlueprint("models", __name__, "", "Models and LiteLLM")


@models_bp.get("/models/status")
@requires_role(*READERS)
@models_bp.answers(200, ModelsStatusSchema)
async def get_models_status() -> dict[str, Any]:
    """Every name of the catalogue with its status, and the counts of calls"""
    return {
        "models": await litellm.get_available_models(),
        "metrics": await litellm.get_metrics(),
        "last_update": SystemClock().now().isoformat(),
    }


@models_bp.get("/models/<name:model_name>/info")
@requires_role(*READERS)
@errors(404)
@models_bp.answers(200, ModelInfoSchema)
async def get_model_info(model_name: str) -> dict[str, Any]:
    """One model: its health with the reason and since when, its prices and what it can do"""
    info = await litellm.get_model_info(model_name)
    if info is None:
        raise ModelNotFoundError(model_name)
    return info


@models_bp.post("/models/refresh")
@requires_role(*ADMINS)
@models_bp.answers(200, StatusSchema)
async def refresh_models() -> dict[str, str]:
    """Forget what calls have shown of the models' health, and ask LiteLLM's free list again"""
    await litellm.force_model_refresh()
    return {"status": "Models refreshed successfully"}


@models_bp.get("/litellm/health")
@requires_role(*READERS)
@models_bp.may_answer(503, "LiteLLM is away", schema=LiteLLMHealthSchema)
@models_bp.answers(200, LiteLLMHealthSchema)
async def litellm_health() -> tuple[dict[str, Any], int]:
    """Whether LiteLLM answers, and the models' health; costs nothing"""
    report = await litellm.health_check()
    return report, 200 if report["status"] == "healthy" else 503


@models_bp.get("/metrics")
@requires_role(*READERS)
@models_bp.answers(200, CallMetricsSchema)
async def get_metrics() -> dict[str, Any]:
    """The counts of calls of all workers of this machine, since the start or the last reset"""
    return await litellm.get_metrics()


@models_bp.post("/metrics/reset")
@requires_role(*ADMINS)
@models_bp.answers(200, StatusSchema)
async def reset_metrics() -> dict[str, str]:
    """Begin to count anew; the counters of `/metrics` go on"""
    await litellm.reset_metrics()
    return {"status": "Metrics reset successfully"}
