"""The APIs as bytes: what a caller asks, what LiteLLM answers, how an answer ends and fails.

One table: a test that goes through ``APIS`` holds for every API that the proxy speaks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.fakes import newer_apis
from tests.fakes.litellm import USAGE, Handler, openai_events, send_stream, sse

QUESTION = [{"role": "user", "content": "oi"}]
TEXT = "olá, São Paulo 🏙️ 東京"
STREAM_WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Api:
    """One API; ``events`` are those of a good stream, each as its bytes, the last one its end."""

    path: str
    # The body of a whole call, but for its model.
    question: Mapping[str, Any]
    answer: Mapping[str, Any]
    # What makes it a stream that comes back unchanged.
    stream_fields: Mapping[str, Any] = field(default_factory=lambda: {"stream": True})
    events: tuple[bytes, ...] = ()
    # The one of them that only callers get who have asked for it.
    usage_event: bytes | None = None
    # How LiteLLM says in a stream that it has failed.
    failure: bytes = b""
    mode: str = "chat"

    @property
    def end(self) -> bytes:
        return self.events[-1]

    @property
    def stream(self) -> bytes:
        return b"".join(self.events)

    def asking(self, model: str, *, streamed: bool = False, **changed: Any) -> bytes:
        fields = self.stream_fields if streamed else {}
        return orjson.dumps({**self.question, **fields, **changed, "model": model})

    def whole_answer(self) -> bytes:
        return json.dumps(self.answer, ensure_ascii=False).encode()


def error_code(body: bytes) -> str:
    """Return the code of an error in any API's shape."""
    return str(orjson.loads(body)["error"]["code"])


def last_event(body: bytes) -> Any:
    """Return the data of the last event of a stream; it must be whole."""
    *_, event, rest = body.split(b"\n\n")
    assert rest == b""
    (data,) = [line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")]
    return orjson.loads(data)


def by_api(make: Callable[[Api], Handler]) -> Handler:
    """Answer with the handler that ``make`` returns for the API that was called."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await make(BY_PATH[request.path])(request)

    return handler


def well() -> Handler:
    """Answer in the API that was called: whole or streamed, as the request asks."""
    return by_api(_answering)


def _answering(api: Api) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        if json.loads(await request.read()).get("stream"):
            return await send_stream(request, api.events)
        return web.Response(body=api.whole_answer(), content_type="application/json")

    return handler


def _named(content: Mapping[str, Any]) -> bytes:
    data = json.dumps(content, ensure_ascii=False)
    return f"event: {content['type']}\ndata: {data}\n\n".encode()


_MESSAGE_EVENTS = newer_apis.message_events("m")
_RESPONSE_EVENTS = newer_apis.response_events("m")
_FAILURE = {"message": "litellm said: sk-internal", "type": None, "param": None, "code": "500"}

_CHAT_EVENTS = tuple(openai_events(TEXT.split(), USAGE))
_COMPLETION_USAGE = sse({"choices": [], "usage": USAGE})

CHAT = Api(
    path="/v1/chat/completions",
    question={"messages": QUESTION},
    answer={
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}}],
        "usage": USAGE,
    },
    stream_fields=STREAM_WITH_USAGE,
    events=_CHAT_EVENTS,
    usage_event=_CHAT_EVENTS[-2],
    failure=sse({"error": _FAILURE}),
)
COMPLETIONS = Api(
    path="/v1/completions",
    question={"prompt": "oi"},
    answer={
        "id": "cmpl-1",
        "object": "text_completion",
        "choices": [{"index": 0, "text": TEXT}],
        "usage": USAGE,
    },
    stream_fields=STREAM_WITH_USAGE,
    events=(
        *(sse({"choices": [{"index": 0, "text": f"{word} "}]}) for word in TEXT.split()),
        _COMPLETION_USAGE,
        b"data: [DONE]\n\n",
    ),
    usage_event=_COMPLETION_USAGE,
    failure=sse({"error": _FAILURE}),
)
EMBEDDINGS = Api(
    path="/v1/embeddings",
    question={"input": ["oi"]},
    answer={
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    },
    mode="embedding",
)
RESPONSES = Api(
    path="/v1/responses",
    question={"input": "oi"},
    answer=_RESPONSE_EVENTS[-1]["response"],
    events=tuple(_named(event) for event in _RESPONSE_EVENTS),
    failure=_named({"type": "error", "error": _FAILURE}),
)
MESSAGES = Api(
    path="/v1/messages",
    question={"messages": QUESTION, "max_tokens": 16},
    answer={
        **_MESSAGE_EVENTS[0]["message"],
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "usage": newer_apis.MESSAGE_USAGE,
    },
    events=tuple(_named(event) for event in _MESSAGE_EVENTS),
    failure=_named({"type": "error", "error": {"type": "api_error", "message": "sk-internal"}}),
)
COUNT_TOKENS = Api(
    path="/v1/messages/count_tokens",
    question={"messages": QUESTION},
    answer={"input_tokens": 14},
)

APIS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES, COUNT_TOKENS)
STREAMED_APIS = tuple(api for api in APIS if api.events)
BY_PATH = {api.path: api for api in APIS}
