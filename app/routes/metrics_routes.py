"""`/metrics`, for Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from app.extensions import metrics, settings
from app.routes.access import READERS, requires_role_or_network

metrics_bp = Blueprint("metrics", __name__)


@metrics_bp.get("/metrics")
@requires_role_or_network(lambda: settings.server.metrics_allow, *READERS)
async def get_metrics() -> Response:
    return Response(await metrics.exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
