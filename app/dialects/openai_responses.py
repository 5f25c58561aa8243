"""OpenAI's Responses API, where each call is whole in itself.

What rests on answers that the provider has stored is refused: its store belongs to the company's
one account there, so that anybody could go on with anybody's conversation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from app.dialects import fields
from app.dialects.base import ErrorFacts, ModelRequest, Needs, StreamReader, Usage, count
from app.dialects.openai_chat import event_object
from app.dialects.openai_errors import OpenAIErrors, openai_error
from app.dialects.sizes import text_size
from app.dialects.steering import without_steering

# `response.incomplete` is a proper end too: the model ran into a limit, and says so.
_LAST_EVENTS = frozenset({"response.completed", "response.incomplete"})
_FAILURES = frozenset({"response.failed", "error"})
_STORED = ("background", "previous_response_id", "conversation")


class Responses(OpenAIErrors):
    path = "/v1/responses"

    def parse(self, raw: bytes) -> ModelRequest:
        body = fields.parse_object(raw)
        fields.require_text_or_list(body, "input")
        fields.check_counts(body, "max_output_tokens")
        fields.refuse(body, *_STORED)
        fields.refuse_items(body, "input", "item_reference")
        passed = without_steering(body)
        fields.without_nulls(passed, "max_output_tokens")
        # OpenAI's default keeps every answer, in the one account that all the company shares.
        if passed.get("store") is None:
            passed["store"] = False
        model, user = passed.pop("model"), passed.pop("user", None)
        attached = fields.attachments(passed["input"])
        cap = passed.get("max_output_tokens")
        needs = Needs(
            images=attached.images,
            files=attached.files,
            tools=bool(passed.get("tools")),
            text_bytes=max(0, text_size(raw, body) - attached.size_bytes),
            output_tokens=cap,
            reasoning_tokens=fields.reasoning_tokens(passed, cap),
        )
        return ModelRequest(self, model, passed, bool(passed.get("stream")), user, needs)

    def body_for(
        self, request: ModelRequest, model: str, user: str | None, output_tokens: int | None
    ) -> dict[str, Any]:
        body = {**request.fields, "model": model, **({"user": user} if user else {})}
        return body | ({} if output_tokens is None else {"max_output_tokens": output_tokens})

    def usage_of(self, body: Mapping[str, Any]) -> Usage | None:
        return _usage(body.get("usage"))

    def stream_reader(self, request: ModelRequest) -> StreamReader:  # noqa: ARG002  # nothing to choose
        return ResponseReader()

    def error_event(self, error: ErrorFacts, message: str, request_id: str) -> bytes:  # noqa: ARG002
        # The API's own error event has its fields at the top; SDKs raise on `error`.
        shape = openai_error(error, message)
        content = {"type": "error", **shape["error"], **shape, "sequence_number": 0}
        content["type"] = "error"
        return b"event: error\ndata: " + orjson.dumps(content) + b"\n\n"


class ResponseReader(StreamReader):
    """Every event names itself; the last one holds the whole answer with its usage."""

    def read(self, event: bytes) -> bytes:
        if b".delta" in event[:80]:  # nearly every event of a stream
            self.count(event)
            return event
        content = event_object(event)
        kind = str(content.get("type"))
        if kind in _FAILURES or (content.get("error") and "type" not in content):
            self.has_failed = True
            return b""
        if kind in _LAST_EVENTS:
            self.is_complete = True
            response = content.get("response")
            usage = response.get("usage") if isinstance(response, Mapping) else None
            self.usage = _usage(usage)
            self.note_cost(usage)
        return event


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    given = count(usage, "input_tokens")
    cached = count(usage.get("input_tokens_details"), "cached_tokens")
    return Usage(given, count(usage, "output_tokens"), min(cached, given))


RESPONSES = Responses()
