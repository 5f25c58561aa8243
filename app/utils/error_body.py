"""The JSON envelope of every error, and the SSE event that carries it inside a stream."""

from __future__ import annotations

from typing import Any

import orjson

from app.utils.exceptions import SolarisError


def envelope(error: SolarisError, message: str) -> dict[str, Any]:
    """Return OpenAI's error shape; SDKs read `error.code`, LibreChat shows `error.message`."""
    return {
        "error": {
            "message": message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def sse_event(error: SolarisError, message: str) -> bytes:
    """Return the event that ends a broken stream: a clean end without it looks complete."""
    return b"data: " + orjson.dumps(envelope(error, message)) + b"\n\n"
