"""`/v1`: the OpenAI wire contract."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, g, request

from app.extensions import catalog, litellm
from app.routes.access import current_caller, requires_key
from app.schemas.chat import parse_chat
from app.services.answer_stream import AnswerStream
from app.services.litellm_service import CompletionMetadata
from app.serving.body import stream_body
from app.utils.exceptions import ModelNotFoundError

proxy_bp = Blueprint("proxy", __name__, url_prefix="/v1")

# OpenAI's contract wants a creation time of a model; the catalogue knows none.
CATALOG_EPOCH_S = 1_704_067_200  # 2024-01-01, when the catalogue was first written


@proxy_bp.get("/models")
@requires_key
async def list_models() -> Response:
    caller = current_caller()
    entries = [_model_entry(name) for name in catalog.names() if caller.may_call(name)]
    return _json({"object": "list", "data": entries})


@proxy_bp.get("/models/<path:model>")
@requires_key
async def get_model(model: str) -> Response:
    if model not in catalog:
        raise ModelNotFoundError(model)
    current_caller().require_model(model)
    return _json(_model_entry(model))


@proxy_bp.post("/chat/completions")
@requires_key
async def chat_completions() -> Response:
    chat = parse_chat(request.get_data(cache=False))
    caller = current_caller().named_in_body(chat.user)
    if chat.model not in catalog:
        raise ModelNotFoundError(chat.model)
    caller.require_model(chat.model)
    answer, status, metadata = await litellm.chat_completion(
        chat.model, chat.messages, request_id=g.request_id, user=caller.subject, **chat.params
    )
    return _answer(answer, status, metadata)


def _answer(
    answer: dict[str, Any] | AnswerStream, status: int, metadata: CompletionMetadata
) -> Response:
    response = (
        _event_stream(answer, status) if isinstance(answer, AnswerStream) else _json(answer, status)
    )
    response.headers["x-solaris-model"] = metadata["model_used"]
    if metadata["cost"] is not None:
        response.headers["x-solaris-cost"] = str(metadata["cost"])
    return response


def _event_stream(stream: AnswerStream, status: int) -> Response:
    body = stream_body(stream, stream.farewell)
    response = Response(body, status, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    # nginx then passes each chunk on at once, whatever its own configuration says.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/json")


def _model_entry(name: str) -> dict[str, Any]:
    model = catalog.models.get(name)
    owner = model.provider if model else "ia-solaris"
    return {"id": name, "object": "model", "created": CATALOG_EPOCH_S, "owned_by": owner}
