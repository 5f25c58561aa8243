"""What senders send: events, packed and signed in every form that is taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from app.utils.helpers import generate_request_id
from tests.conftest import WEBHOOK_SECRET

PATH = "/api/webhooks/litellm"
# Of every event here: a little while ago.
AT = datetime.now(UTC).replace(microsecond=250_000) - timedelta(minutes=5)
Headers = dict[str, str]


def event(event_type: str = "request_start", **facts: Any) -> dict[str, Any]:
    """Return an event with all that its kind has; ``facts`` are of its data, `id` of itself."""
    known: dict[str, Any] = {"request_id": "r-1", "user_id": "p-1", **DATA[event_type]}
    own = {"id": facts.pop("id", generate_request_id())}
    return {"event_type": event_type, **own, "timestamp": AT.isoformat(), "data": known | facts}


DATA: dict[str, dict[str, Any]] = {
    "request_start": {"model": "gpt-4"},
    "request_end": {
        "model": "gpt-4",
        "model_used": "openai/gpt-4",
        "provider": "openai",
        "status": "success",
        "usage": {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26},
        "cost": 0.00125,
        "response_time_ms": 812,
        "stream": True,
        "cache_hit": False,
    },
    "request_error": {"model": "gpt-4", "error": "RateLimitError", "error_code": 429},
    "model_fallback": {
        "original_model": "gpt-4",
        "fallback_model": "gpt-4o",
        "reason": "InternalServerError",
    },
    "rate_limit_hit": {
        "model": "gpt-4",
        "limit_type": "tpm",
        "current_usage": 50_001,
        "limit": 50_000,
    },
}


def payload(**facts: Any) -> dict[str, Any]:
    """Return a StandardLoggingPayload, as `generic_api` posts it, prompts included."""
    return {
        "id": "chatcmpl-9x",
        "litellm_call_id": "c-1",
        "trace_id": "t-1",
        "call_type": "acompletion",
        "stream": True,
        "cache_hit": None,
        "status": "success",
        "custom_llm_provider": "openai",
        "startTime": AT.timestamp() - 1.5,
        "endTime": AT.timestamp(),
        "completionStartTime": AT.timestamp() - 1.25,
        "response_time": 0.25,
        "model": "gpt-4-0613",
        "model_group": "gpt-4",
        "model_id": "m-1",
        "response_cost": 0.0025,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "end_user": "p-1",
        "messages": [{"role": "user", "content": "a prompt that must not be kept"}],
        "response": {"choices": [{"message": {"content": "an answer that must not be kept"}}]},
        "metadata": {"user_api_key_alias": None},
        "error_str": None,
        "error_information": {"error_code": "", "error_class": "", "error_message": ""},
    } | facts


def signed(body: bytes, secret: str = WEBHOOK_SECRET) -> Headers:
    """Sign as the seed does; computed beside the product."""
    code = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Signature-256": f"sha256={code}"}


def signed_standard(
    body: bytes,
    secret: str = WEBHOOK_SECRET,
    *,
    delivery_id: str = "msg-1",
    at_s: float | None = None,
) -> Headers:
    """Sign as Standard Webhooks do, at ``at_s`` of the wall clock; computed beside the product."""
    timestamp = str(int(time.time() if at_s is None else at_s))
    is_base64 = secret.startswith("whsec_")
    key = base64.b64decode(secret[6:]) if is_base64 else secret.encode()
    message = b".".join((delivery_id.encode(), timestamp.encode(), body))
    code = base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{code}",
    }


def encoded(document: Any) -> bytes:
    return orjson.dumps(document)


def lines(*events: Any) -> bytes:
    """Return newline-delimited JSON."""
    return b"\n".join(map(orjson.dumps, events)) + b"\n"
