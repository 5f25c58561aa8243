"""`/livez` and `/readyz`, for load balancers and orchestrators; `/`, for whoever opens it."""

from __future__ import annotations

from flask import Blueprint

from app.config.messages import WELCOME
from app.extensions import readiness, settings
from app.routes.access import open_to
from app.version import __version__

health_bp = Blueprint("health", __name__)


@health_bp.get("/")
@open_to("everyone")
async def index() -> dict[str, str]:
    return {
        "name": "IA SOLARIS Proxy",
        "version": __version__,
        "message": WELCOME[settings.locale],
        "base_url": "/v1",
        "models": "/v1/models",
        "status": "/readyz",
    }


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
