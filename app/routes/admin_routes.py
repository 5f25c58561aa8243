"""`/api/admin`: for administrators, auditors and viewers."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from app.extensions import litellm
from app.routes.access import requires_role
from app.utils.clock import SystemClock
from app.utils.exceptions import ModelNotFoundError

admin_bp = Blueprint("admin", __name__, url_prefix="/api/admin")

READERS = ("viewer", "auditor", "admin")


@admin_bp.get("/models/status")
@requires_role(*READERS)
async def get_models_status() -> dict[str, Any]:
    return {
        "models": await litellm.get_available_models(),
        "metrics": litellm.get_metrics(),
        "last_update": SystemClock().now().isoformat(),
    }


@admin_bp.get("/models/<path:model_name>/info")
@requires_role(*READERS)
async def get_model_info(model_name: str) -> dict[str, Any]:
    info = await litellm.get_model_info(model_name)
    if info is None:
        raise ModelNotFoundError(model_name)
    return info


@admin_bp.post("/models/refresh")
@requires_role("admin")
async def refresh_models() -> dict[str, str]:
    await litellm.force_model_refresh()
    return {"status": "Models refreshed successfully"}


@admin_bp.get("/litellm/health")
@requires_role(*READERS)
async def litellm_health() -> tuple[dict[str, Any], int]:
    report = await litellm.health_check()
    return report, 200 if report["status"] == "healthy" else 503
