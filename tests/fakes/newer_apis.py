"""Anthropic's Messages API and OpenAI's Responses API, answered as the real ones answer."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

MESSAGE_USAGE = {
    "input_tokens": 21,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 2,
    "output_tokens": 5,
}
RESPONSE_USAGE = {
    "input_tokens": 21,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 26,
}
WORDS = ("olá ", "do ", "provedor")
TEXT = "".join(WORDS)


async def messages(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if request.path.endswith("/count_tokens"):
        return web.json_response({"input_tokens": 14})
    if body.get("stream"):
        return await _named_events(request, message_events(body["model"]))
    content = [{"type": "text", "text": TEXT}]
    return web.json_response(
        {**_message(body["model"]), "content": content, "usage": MESSAGE_USAGE}
    )


async def responses(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if body.get("stream"):
        return await _named_events(request, response_events(body["model"]))
    return web.json_response(_response(body["model"]))


def message_events(model: str) -> list[dict[str, Any]]:
    """Return a message as a stream: what went in at the start, what came out at the end."""
    start = {**_message(model), "stop_reason": None, "usage": {**MESSAGE_USAGE, "output_tokens": 1}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in WORDS
    ]
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]


def response_events(model: str) -> list[dict[str, Any]]:
    whole = _response(model)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    item = {"type": "message", "id": "m", "status": "in_progress", "role": "assistant"}
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": part},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in WORDS),
        {"type": "response.completed", "response": whole},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _message(model: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }


def _response(model: str) -> dict[str, Any]:
    text = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {"type": "message", "id": "m", "status": "completed", "role": "assistant"}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": model,
        "output": [{**item, "content": [text]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": RESPONSE_USAGE,
    }


async def _named_events(request: web.Request, events: list[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return response
