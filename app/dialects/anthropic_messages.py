"""Anthropic's Messages API, and its counter of tokens, which costs nothing.

Source of the events and the errors' types: Anthropic's API reference, and what its SDKs read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from app.dialects import fields
from app.dialects.base import Dialect, ErrorFacts, ModelRequest, Needs, StreamReader, Usage, count
from app.dialects.openai_chat import event_object
from app.dialects.sizes import text_size
from app.dialects.steering import without_steering

_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_COUNTED = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


class Messages(Dialect):
    path: ClassVar[str] = "/v1/messages"
    passed_headers = ("anthropic-version", "anthropic-beta")
    is_free: ClassVar[bool] = False

    def parse(self, raw: bytes) -> ModelRequest:
        body = fields.parse_object(raw)
        fields.require_messages(body)
        fields.require_count(body, "max_tokens")
        return self._request(body, text_size(raw, body))

    def body_for(
        self, request: ModelRequest, model: str, user: str | None, output_tokens: int | None
    ) -> dict[str, Any]:
        named = {"metadata": {"user_id": user}} if user else {}
        capped = {} if output_tokens is None else {"max_tokens": output_tokens}
        return {**request.fields, "model": model, **named, **capped}

    def usage_of(self, body: Mapping[str, Any]) -> Usage | None:
        usage = body.get("usage")
        return _usage(_counts(usage)) if isinstance(usage, Mapping) else None

    def stream_reader(self, request: ModelRequest) -> StreamReader:  # noqa: ARG002  # nothing to choose
        return MessageReader()

    def events_of(self, body: Mapping[str, Any]) -> bytes | None:
        """Return a whole message as a stream: LiteLLM's mocked models do not stream this API."""
        blocks = body.get("content")
        if body.get("type") != "message" or not isinstance(blocks, list):
            return None
        usage = body["usage"] if isinstance(body.get("usage"), dict) else {}
        start = {**body, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 0}}
        ended = {name: body.get(name) for name in ("stop_reason", "stop_sequence")}
        events = [
            {"type": "message_start", "message": start},
            *(event for index, block in enumerate(blocks) for event in _block(index, block)),
            {"type": "message_delta", "delta": ended, "usage": usage},
            {"type": "message_stop"},
        ]
        return b"".join(_event(event) for event in events)

    def error_body(self, error: ErrorFacts, message: str, request_id: str) -> dict[str, Any]:
        plain = "api_error" if error.status >= 500 else "invalid_request_error"
        kind = _ERROR_TYPES.get(error.status, plain)
        return {
            "type": "error",
            "error": {"type": kind, "message": message, "code": error.code},
            "request_id": request_id,
        }

    def error_event(self, error: ErrorFacts, message: str, request_id: str) -> bytes:
        return _event(self.error_body(error, message, request_id))

    def _request(self, body: dict[str, Any], size_bytes: int) -> ModelRequest:
        named = body.get("metadata")
        passed = without_steering(body)
        attached = fields.attachments(passed["messages"])
        cap = passed.get("max_tokens")
        needs = Needs(
            images=attached.images,
            files=attached.files,
            tools=bool(passed.get("tools")),
            text_bytes=max(0, size_bytes - attached.size_bytes),
            output_tokens=cap,
            reasoning_tokens=fields.reasoning_tokens(passed, cap),
            is_free=self.is_free,
        )
        return ModelRequest(
            self,
            passed.pop("model"),
            passed,
            bool(passed.get("stream")),
            named.get("user_id") if isinstance(named, dict) else None,
            needs,
        )


class CountTokens(Messages):
    """The same request without a limit; the answer is a number."""

    path = "/v1/messages/count_tokens"
    is_free = True

    def parse(self, raw: bytes) -> ModelRequest:
        body = fields.parse_object(raw)
        fields.require_messages(body)
        fields.refuse(body, "stream")
        return self._request(body, text_size(raw, body))

    def usage_of(self, body: Mapping[str, Any]) -> Usage | None:  # noqa: ARG002
        """Return zeros: counting is free."""
        return Usage(0, 0)


class MessageReader(StreamReader):
    """The first event has what went in, `message_delta` what came out so far."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}

    def read(self, event: bytes) -> bytes:
        if b"content_block_delta" in event[:40]:  # nearly every event of a stream
            self.count(event)
            return event
        content = event_object(event)
        kind = content.get("type")
        if kind == "error" or (content.get("error") and kind is None):
            self.has_failed = True
            return b""
        if kind == "message_stop":
            self.is_complete = True
        holder = content.get("message") if kind == "message_start" else content
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            # Counts add up over the stream: each later one stands for all so far.
            self._counts |= {name: n for name, n in _counts(usage).items() if n}
            self.usage = _usage(self._counts)
            self.note_cost(usage)
        return event


def _block(index: int, block: Any) -> list[dict[str, Any]]:
    is_text = isinstance(block, dict) and isinstance(block.get("text"), str)
    delta = {"type": "text_delta", "text": block["text"]} if is_text else None
    start = {**block, "text": ""} if is_text else block
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *([{"type": "content_block_delta", "index": index, "delta": delta}] if delta else []),
        {"type": "content_block_stop", "index": index},
    ]


def _event(content: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (content["type"].encode(), orjson.dumps(content))


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    return {name: count(usage, name) for name in _COUNTED}


def _usage(counts: Mapping[str, int]) -> Usage:
    """Unlike OpenAI's, Anthropic's `input_tokens` leaves out what the cache took part in."""
    fresh, cached, written, output = (counts.get(name, 0) for name in _COUNTED)
    return Usage(fresh + cached + written, output, cached, written)


MESSAGES = Messages()
COUNT_TOKENS = CountTokens()
