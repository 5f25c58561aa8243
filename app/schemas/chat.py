"""The body of a chat completion: what must hold before LiteLLM sees it.

Only the shape is checked; everything unknown passes. A `messages: "abc"` was measured to cost
LiteLLM 32 attempts before it said no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from app.schemas.steering import without_steering
from app.utils.exceptions import InvalidRequestError


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked body; ``params`` is all of it that goes to the model as it came."""

    model: str
    messages: list[dict[str, Any]]
    user: Any
    params: dict[str, Any]


def parse_chat(raw: bytes) -> ChatRequest:
    """Check and take apart a body. Raises: InvalidRequestError, naming the field."""
    body = parse_object(raw)
    _require_text(body, "model")
    _require_messages(body)
    _check(body, "stream", "not_boolean", lambda value: isinstance(value, bool))
    _check(body, "stream_options", "not_object", lambda value: isinstance(value, dict))
    for name in ("n", "max_tokens", "max_completion_tokens"):
        _check(body, name, "not_count", _is_count)
    params = without_steering(body)
    return ChatRequest(
        params.pop("model"), params.pop("messages"), params.pop("user", None), params
    )


def parse_object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        # The parser's own words quote the body.
        raise InvalidRequestError("not_json") from fault
    if not isinstance(body, dict):
        raise InvalidRequestError("not_json")
    return body


def _require_text(body: dict[str, Any], name: str) -> None:
    if name not in body:
        raise InvalidRequestError("required", param=name)
    value = body[name]
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequestError("not_text", param=name)


def _require_messages(body: dict[str, Any]) -> None:
    if "messages" not in body:
        raise InvalidRequestError("required", param="messages")
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("not_list", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequestError("not_object", param=f"messages[{index}]")
        if not isinstance(message.get("role"), str) or not message["role"]:
            raise InvalidRequestError("not_text", param=f"messages[{index}].role")


def _check(body: dict[str, Any], name: str, detail: str, holds: Any) -> None:
    value = body.get(name)
    if value is not None and not holds(value):
        raise InvalidRequestError(detail, param=name)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
