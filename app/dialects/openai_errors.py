"""OpenAI's errors: SDKs read `error.code`, LibreChat shows `error.message`."""

from __future__ import annotations

from typing import Any

import orjson

from app.dialects.base import Dialect, ErrorFacts


def openai_error(error: ErrorFacts, message: str) -> dict[str, Any]:
    return {
        "error": {
            "message": message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


class OpenAIErrors(Dialect):
    """The part that OpenAI's APIs have in common."""

    def error_body(self, error: ErrorFacts, message: str, request_id: str) -> dict[str, Any]:  # noqa: ARG002  # it is in a header
        return openai_error(error, message)

    def error_event(self, error: ErrorFacts, message: str, request_id: str) -> bytes:  # noqa: ARG002
        return b"data: " + orjson.dumps(openai_error(error, message)) + b"\n\n"
