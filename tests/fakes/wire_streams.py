"""Streams as LiteLLM sends them, for APIs and deltas that clients treat in ways of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from tests.fakes.litellm import USAGE, Handler, openai_events, send_stream, sse
from tests.fakes.newer_apis import message_events, response_events

CALL: dict[str, Any] = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "São Paulo"}'},
}


def by_path() -> Handler:
    """Answer each API in its own words, streamed or whole."""

    async def handler(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        events = _events(request.path, body)
        if body.get("stream"):
            return await send_stream(request, events)
        return web.json_response(_whole(request.path, body))

    return handler


def deltas(*contents: dict[str, Any]) -> Handler:
    """Stream these deltas of a chat, then its end."""
    chunks = [sse({"id": "c1", "choices": [{"index": 0, "delta": it}]}) for it in contents]
    ends = openai_events([], USAGE)

    async def handler(request: web.Request) -> web.StreamResponse:
        return await send_stream(request, [*chunks, *ends])

    return handler


def named(events: Iterable[dict[str, Any]]) -> list[bytes]:
    return [f"event: {it['type']}\n".encode() + sse(it) for it in events]


def _events(path: str, body: dict[str, Any]) -> list[bytes]:
    if path.endswith("/messages"):
        return named(message_events(body["model"]))
    if path.endswith("/responses"):
        return named(response_events(body["model"]))
    return openai_events(["olá", "do", "provedor"], USAGE)


def _whole(path: str, body: dict[str, Any]) -> dict[str, Any]:
    if path.endswith("/messages"):
        start = message_events(body["model"])[0]["message"]
        content = [{"type": "text", "text": "olá do provedor"}]
        return {**start, "content": content, "stop_reason": "end_turn"}
    if path.endswith("/responses"):
        whole: dict[str, Any] = response_events(body["model"])[-1]["response"]
        return whole
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": "AACAPgAAAL8="}]
        return {
            "object": "list",
            "model": body["model"],
            "data": data,
            "usage": {"prompt_tokens": 3},
        }
    message = {"role": "assistant", "content": "Um título"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "choices": [choice], "usage": USAGE}
