"""`/api/webhooks`: events from LiteLLM.

Order: raw bytes, size, signature, and only then anything else. Until events can be stored
durably the answer is 503, which makes the sender keep them: a 200 would be a promise.
"""

from __future__ import annotations

from flask import Blueprint, request

from app.extensions import settings
from app.routes.access import open_to
from app.utils.exceptions import InvalidSignatureError, NotReadyError, RequestTooLargeError
from app.utils.signatures import is_signed_by_any

MAX_DELIVERY_BYTES = 1024 * 1024

webhook_bp = Blueprint("webhooks", __name__, url_prefix="/api/webhooks")


@webhook_bp.post("/litellm")
@open_to("a sender who signs with WEBHOOK_SECRET")
async def litellm_webhook() -> tuple[dict[str, str], int]:
    body = request.get_data(cache=False)
    if len(body) > MAX_DELIVERY_BYTES:
        raise RequestTooLargeError(MAX_DELIVERY_BYTES)
    signature = request.headers.get("X-Signature-256", "")
    if not is_signed_by_any(body, signature, settings.security.webhook_secrets):
        raise InvalidSignatureError()
    raise NotReadyError(retry_after_s=3600)
