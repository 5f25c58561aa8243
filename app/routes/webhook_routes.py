"""`/api/webhooks`: events from LiteLLM.

Order: raw bytes, size, signature, and only then anything else; the answer is a promise that the
events are on disk.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from app.events.delivery import MAX_DELIVERY_BYTES
from app.extensions import events
from app.routes.access import open_to
from app.routes.body_limit import takes_at_most
from app.routes.client_address import client_address
from app.services.event_service import Delivery

webhook_bp = Blueprint("webhooks", __name__, url_prefix="/api/webhooks")


@webhook_bp.post("/litellm")
@open_to("a sender who signs with WEBHOOK_SECRET")
@takes_at_most(MAX_DELIVERY_BYTES)
async def litellm_webhook() -> dict[str, Any]:
    body = request.get_data(cache=False)
    encoding = request.headers.get("Content-Encoding", "")
    receipt = await events.receive(Delivery(request.headers, body, encoding, client_address()))
    return receipt.facts()
