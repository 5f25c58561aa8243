"""Providers that answer by what they are asked; LiteLLM talks to them as to the real ones."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.fakes import newer_apis
from tests.fakes.litellm import Handler, sse

TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "São Paulo"}'},
}
USAGE = {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26}
EMBEDDING = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}
REFUSAL = "Invalid value for 'temperature': must be at most 2."


def provider() -> Handler:
    """Answer with a tool call, the size of an image, a refusal, a failure, or a greeting."""

    async def handler(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if (failure := _failure(body)) is not None:
            return failure
        if "HANG" in json.dumps(body):
            await asyncio.sleep(60)
        return await _answer(request, body)

    return handler


async def _answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if request.path.endswith("/embeddings"):
        return web.json_response(EMBEDDING)
    if "/messages" in request.path:
        return await newer_apis.messages(request, body)
    if request.path.endswith("/responses"):
        return await newer_apis.responses(request, body)
    return await _chat(request, body)


async def _chat(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if body.get("temperature", 0) > 2:
        error = {"message": REFUSAL, "type": "invalid_request_error", "param": "temperature"}
        return web.json_response({"error": {**error, "code": None}}, status=400)
    message = _message(body)
    if body.get("stream"):
        return await _stream(request, body, message)
    reason = "tool_calls" if "tool_calls" in message else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return web.json_response({**_head(body), "choices": [choice], "usage": USAGE})


def _failure(body: dict[str, Any]) -> web.Response | None:
    """Fail where the question says `FAIL 500`, or `FAIL 500 gpt-4o` and that model is asked."""
    words = json.dumps(body, ensure_ascii=False).partition("FAIL ")[2].split('"')[0].split()
    models = [word for word in words[1:] if word != "HANG"]
    if not words or (models and body["model"] not in models):
        return None
    error = {"message": "de propósito", "type": "server_error", "param": None, "code": None}
    return web.json_response({"type": "error", "error": error}, status=int(words[0]))


def _message(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("tools"):
        return {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    parts = body["messages"][-1]["content"]
    if isinstance(parts, list):
        url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        return {"role": "assistant", "content": f"imagem de {len(url)} caracteres"}
    return {"role": "assistant", "content": "olá do provedor"}


def _head(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-9", "object": "chat.completion", "created": 1, "model": body["model"]}


async def _stream(
    request: web.Request, body: dict[str, Any], message: dict[str, Any]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for delta in _deltas(message):
        await response.write(_chunk(body, [{"index": 0, "delta": delta, "finish_reason": None}]))
    reason = "tool_calls" if "tool_calls" in message else "stop"
    await response.write(_chunk(body, [{"index": 0, "delta": {}, "finish_reason": reason}]))
    if (body.get("stream_options") or {}).get("include_usage"):
        await response.write(_chunk(body, [], USAGE))
    await response.write(b"data: [DONE]\n\n")
    return response


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    if "tool_calls" in message:
        return [{"role": "assistant", "tool_calls": [{"index": 0, **TOOL_CALL}]}]
    return [{"content": f"{word} "} for word in message["content"].split()]


def _chunk(body: dict[str, Any], choices: list[Any], usage: Any = None) -> bytes:
    head = {**_head(body), "object": "chat.completion.chunk"}
    return sse({**head, "choices": choices, **({"usage": usage} if usage else {})})
