"""OpenAI's chat completions, and the completions before them, which end and count alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from app.dialects import fields
from app.dialects.base import ModelRequest, Needs, StreamReader, Usage, count
from app.dialects.openai_errors import OpenAIErrors
from app.dialects.sizes import text_size
from app.dialects.steering import without_steering
from app.utils.sse import event_data

_CAPS = ("max_tokens", "max_completion_tokens")


class ChatCompletions(OpenAIErrors):
    path = "/v1/chat/completions"

    def parse(self, raw: bytes) -> ModelRequest:
        body = fields.parse_object(raw)
        fields.require_messages(body)
        fields.check_objects(body, "stream_options")
        fields.check_counts(body, "n", *_CAPS)
        return self.request(body, text_size(raw, body))

    def request(self, body: dict[str, Any], size_bytes: int) -> ModelRequest:
        """Return the request that a checked body makes."""
        attached = fields.attachments(body.get("messages"))
        cap = fields.largest(body, *_CAPS)
        needs = Needs(
            images=attached.images,
            files=attached.files,
            tools=bool(body.get("tools") or body.get("functions")),
            text_bytes=max(0, size_bytes - attached.size_bytes),
            choices=body.get("n") or 1,
            output_tokens=cap,
            reasoning_tokens=fields.reasoning_tokens(body, cap),
        )
        return completion_request(self, body, needs)

    def body_for(
        self, request: ModelRequest, model: str, user: str | None, output_tokens: int | None
    ) -> dict[str, Any]:
        return completion_body(request, model, user, output_tokens)

    def usage_of(self, body: Mapping[str, Any]) -> Usage | None:
        return completion_usage(body.get("usage"))

    def stream_reader(self, request: ModelRequest) -> StreamReader:
        return CompletionReader(forward_usage=_wants_usage(request))


class Completions(ChatCompletions):
    """The older API: a text in, a text out."""

    path: ClassVar[str] = "/v1/completions"

    def parse(self, raw: bytes) -> ModelRequest:
        body = fields.parse_object(raw)
        fields.require_text_or_list(body, "prompt")
        fields.check_objects(body, "stream_options")
        fields.check_counts(body, "n", "best_of", *_CAPS)
        # A list of texts asks for as many answers.
        prompts = fields.prompts(body["prompt"])
        needs = Needs(
            text_bytes=text_size(raw, body),
            prompts=prompts,
            choices=prompts * max(body.get("n") or 1, body.get("best_of") or 1),
            output_tokens=fields.largest(body, *_CAPS),
        )
        return completion_request(self, body, needs)


class CompletionReader(StreamReader):
    """Ends with `[DONE]`; usage comes in a chunk of its own, which the caller may not want."""

    def __init__(self, *, forward_usage: bool) -> None:
        super().__init__()
        self._forward_usage = forward_usage

    def read(self, event: bytes) -> bytes:
        # Substring searches settle it for all but a few events of a stream.
        if b"[DONE]" in event and event_data(event).strip() == b"[DONE]":
            self.is_complete = True
        elif b'"error"' in event or (b'"usage"' in event and not _has_no_usage(event)):
            return self._read_json(event)
        elif event.startswith(b"data:"):  # else a comment, a sign of life
            self.count(event)
        return event

    def _read_json(self, event: bytes) -> bytes:
        content = event_object(event)
        if content.get("error") and not content.get("choices"):
            self.has_failed = True
            return b""
        usage = completion_usage(content.get("usage"))
        if usage is None:
            return event
        self.usage = usage
        self.note_cost(content.get("usage"))
        return event if self._forward_usage or _says_something(content) else b""


def completion_request(dialect: OpenAIErrors, body: dict[str, Any], needs: Needs) -> ModelRequest:
    passed = without_steering(body)
    fields.without_nulls(passed, *_CAPS)
    model, user = passed.pop("model"), passed.pop("user", None)
    return ModelRequest(dialect, model, passed, bool(passed.get("stream")), user, needs)


def completion_body(
    request: ModelRequest, model: str, user: str | None, output_tokens: int | None
) -> dict[str, Any]:
    body = {**request.fields, "model": model}
    if output_tokens is not None:
        # Under the name that the caller has used; `max_tokens` is what LiteLLM knows for all.
        named = [name for name in _CAPS if name in body] or ["max_tokens"]
        body |= dict.fromkeys(named, output_tokens)
    if user:
        body["user"] = user
    if request.is_stream:
        # Always asked for: LibreChat does not, and nothing could be counted.
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return body


def completion_usage(usage: object) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    prompt = count(usage, "prompt_tokens")
    cached = count(usage.get("prompt_tokens_details"), "cached_tokens")
    # LiteLLM adds Anthropic's count of what was written to a cache.
    written = count(usage, "cache_creation_input_tokens")
    cached = min(cached, prompt)
    return Usage(
        input_tokens=prompt,
        output_tokens=count(usage, "completion_tokens"),
        cached_input_tokens=cached,
        cache_write_tokens=min(written, prompt - cached),
    )


def event_object(event: bytes) -> dict[str, Any]:
    """Return an event's data as an object; what is none is an empty one."""
    try:
        content = orjson.loads(event_data(event))
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _has_no_usage(event: bytes) -> bool:
    """Tell whether the only usage in an event is a null, as in every chunk but OpenAI's last.

    Inside a text the quotes would be escaped.
    """
    nulls = event.count(b'"usage":null') + event.count(b'"usage": null')
    return nulls == event.count(b'"usage"')


def _wants_usage(request: ModelRequest) -> bool:
    return bool((request.fields.get("stream_options") or {}).get("include_usage"))


def _says_something(content: dict[str, Any]) -> bool:
    """Tell whether the chunk carries more than usage.

    OpenAI sends the usage chunk with no choices, LiteLLM with one that has an empty delta.
    """
    return any(
        choice.get("delta") or choice.get("finish_reason") or choice.get("text")
        for choice in _listed(content.get("choices"))
        if isinstance(choice, dict)
    )


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


CHAT = ChatCompletions()
COMPLETIONS = Completions()
