"""Puts every request to a model on record, before its answer leaves; streams when they end."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from app.extensions import audit, tracing
from app.routes.client_address import client_address
from app.services.call_trail import CLIENT_LEFT, CallTrail
from app.utils.exceptions import SolarisError


def record_calls(blueprint: Blueprint) -> None:
    """Record each POST to ``blueprint``; strictly, none is taken while none can be recorded."""
    blueprint.before_request(_begin)
    blueprint.after_request(_end)
    blueprint.teardown_request(_end_without_answer)


def current_trail() -> CallTrail:
    trail: CallTrail = g.trail
    return trail


def _begin() -> None:
    if request.method == "POST":
        agent = request.headers.get("User-Agent", "")
        g.trail = audit.begin(g.request_id, ip=client_address(), user_agent=agent)
        name = f"{request.method} {request.path}"
        g.trail.span = tracing.begin(name, g.request_id, request.headers)


def _end(response: Response) -> Response:
    if "trail" in g and not response.is_streamed:
        failure: SolarisError | None = g.get("failure")
        audit.end(g.trail, response.status_code, failure)
    return response


def _end_without_answer(_error: BaseException | None) -> None:
    """Of a caller who left before the answer; a stream that was begun ends by itself."""
    if "trail" in g and not g.trail.is_stream:
        audit.end(g.trail, CLIENT_LEFT, None)
