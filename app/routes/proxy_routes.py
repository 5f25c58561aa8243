"""`/v1`: the wire contracts of OpenAI and Anthropic."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, g, request

from app.dialects.anthropic_messages import COUNT_TOKENS, MESSAGES
from app.dialects.base import Dialect
from app.dialects.openai_chat import CHAT, COMPLETIONS
from app.dialects.openai_embeddings import EMBEDDINGS
from app.dialects.openai_responses import RESPONSES
from app.extensions import catalog, litellm, people, tokens
from app.ledger.allowance import Allowance
from app.ledger.rules import Payer
from app.routes.access import current_caller, requires_key
from app.routes.call_record import current_trail, record_calls
from app.routes.limit_headers import limit_headers
from app.services.answer_stream import AnswerStream
from app.services.call import CompletionMetadata
from app.services.call_trail import UNKNOWN_MODEL
from app.serving.body import stream_body
from app.utils.exceptions import ModelNotFoundError

proxy_bp = Blueprint("proxy", __name__, url_prefix="/v1")
record_calls(proxy_bp)

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
    return await _call_model(CHAT)


@proxy_bp.post("/completions")
@requires_key
async def completions() -> Response:
    return await _call_model(COMPLETIONS)


@proxy_bp.post("/embeddings")
@requires_key
async def embeddings() -> Response:
    return await _call_model(EMBEDDINGS)


@proxy_bp.post("/responses")
@requires_key
async def responses() -> Response:
    return await _call_model(RESPONSES)


@proxy_bp.post("/messages")
@requires_key
async def messages() -> Response:
    return await _call_model(MESSAGES)


@proxy_bp.post("/messages/count_tokens")
@requires_key
async def count_tokens() -> Response:
    return await _call_model(COUNT_TOKENS)


@proxy_bp.after_app_request
def name_request_for_anthropic(response: Response) -> Response:
    """Give Anthropic's SDKs the id under the name that they read, of a wrong address too."""
    if request.path.startswith(MESSAGES.path):
        response.headers["request-id"] = g.request_id
    return response


@proxy_bp.after_app_request
def say_what_is_left(response: Response) -> Response:
    """Tell how the caller's own budgets stand, also on refusals and failures."""
    if "allowance" in g and (rests := tokens.rests(g.allowance)):
        is_anthropic = request.path.startswith(MESSAGES.path)
        response.headers.extend(limit_headers(rests, is_anthropic=is_anthropic))
    return response


async def _call_model(dialect: Dialect) -> Response:
    """Parse, ask, answer: the way of every call to a model."""
    trail = current_trail()
    trail.caller = current_caller()
    asked = dialect.parse(request.get_data(cache=False))
    trail.model = asked.model if asked.model in catalog else UNKNOWN_MODEL
    trail.caller = caller = await people.meet(current_caller().named_in_body(asked.user))
    sent = {name: request.headers.get(name) for name in dialect.passed_headers}
    g.allowance = Allowance()
    answer, status, metadata = await litellm.call(
        asked,
        request_id=g.request_id,
        user=caller.subject,
        payer=Payer(caller.user_id, caller.team, caller.key_name, is_key_shared=caller.trusted),
        allowed_models=caller.allowed_models,
        headers={name: value for name, value in sent.items() if value},
        allowance=g.allowance,
        trail=trail,
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
