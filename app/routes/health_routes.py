"""`/livez` and `/readyz`, for load balancers and orchestrators."""

from __future__ import annotations

from flask import Blueprint

from app.extensions import readiness
from app.routes.access import open_to

health_bp = Blueprint("health", __name__)


@health_bp.get("/livez")
@open_to("everyone")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@health_bp.get("/readyz")
@open_to("everyone")
async def readyz() -> tuple[dict[str, object], int]:
    report = await readiness.report()
    status = "ready" if report.is_ready else "not ready"
    return {"status": status, "checks": report.checks}, 200 if report.is_ready else 503
