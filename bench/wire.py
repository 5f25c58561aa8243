"""The bytes of both sides: what the clients ask, and what the mock upstream answers.

A whole answer is as OpenAI sends it, a stream as LiteLLM 1.106.2 does: that is what this proxy
reads, and OpenAI's own has a `"usage":null` in every chunk. A stream is a function of its number
and length alone, so a client can tell, byte for byte, what should have reached it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

CHAT_PATH = "/v1/chat/completions"
MODEL = "gpt-4o"
CHUNKS_PER_S = 20
LAST_CHUNK = b"0\r\n\r\n"

_SYSTEM = "You answer the people of a company, in their own language, in a few sentences."
_QUESTION = "Summarise the minutes of Tuesday's meeting of the purchasing department for me."
_ANSWER = (
    "The department compared three offers for the new laptops, chose the second one because of "
    "its guarantee, and will ask the finance department for approval by Friday."
)
_USAGE = {"prompt_tokens": 42, "completion_tokens": 33, "total_tokens": 75}
_CREATED_S = 1_704_067_200


def chat_request(headers: Mapping[str, str]) -> bytes:
    return _post(_body(_QUESTION, 256), headers)


def stream_request(headers: Mapping[str, str], number: int, chunks: int) -> bytes:
    """Ask for stream ``number``; the upstream takes ``max_tokens`` for how many chunks to send."""
    # Without include_usage a proxy that asks for usage itself has to take an event out.
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return _post(_body(str(number), chunks) | options, headers)


def chat_answer() -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": _ANSWER},
        "finish_reason": "stop",
    }
    content = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": _CREATED_S,
        "model": MODEL,
        "choices": [choice],
        "usage": _USAGE,
    }
    return json_answer(content)


def json_answer(content: Any) -> bytes:
    body = orjson.dumps(content)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def content_event(number: int, index: int) -> bytes:
    return _EVENT % (number, _DELTA % index)


def last_events(number: int, chunks: int, *, with_usage: bool) -> bytes:
    """Return what ends a stream: the reason, the usage where it was asked for, `[DONE]`."""
    events = _EVENT % (number, _FINISH)
    if with_usage:
        events += _USAGE_EVENT % (number, chunks, 42 + chunks)
    return events + b"data: [DONE]\n\n"


def stream_body(number: int, chunks: int) -> bytes:
    """Return all of a stream that was asked for by ``stream_request``."""
    events = [content_event(number, index) for index in range(chunks)]
    return b"".join(events) + last_events(number, chunks, with_usage=True)


_PREFIX = (
    b'data: {"id":"chatcmpl-%%06d","object":"chat.completion.chunk","created":%d,"model":"%b",'
    % (_CREATED_S, MODEL.encode())
)
_EVENT = _PREFIX + b'"choices":[{"index":0,%b}]}\n\n'
_DELTA = b'"delta":{"content":" word%d"}'
_FINISH = b'"delta":{},"finish_reason":"stop"'
_USAGE_EVENT = (
    _PREFIX
    + b'"choices":[{"index":0,"delta":{}}],"usage":'
    + b'{"prompt_tokens":42,"completion_tokens":%d,"total_tokens":%d}}\n\n'
)


def _body(content: str, max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]
    return {"model": MODEL, "messages": messages, "temperature": 0.2, "max_tokens": max_tokens}


def _post(content: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    body = orjson.dumps(content)
    fields = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = [f"POST {CHAT_PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
