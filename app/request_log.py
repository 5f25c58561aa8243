"""The request's id, on every answer and every log line, and one line for each request served."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from app.utils.helpers import generate_request_id
from app.utils.json_logging import request_id_var

logger = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_name)
    app.teardown_request(_end)


def _begin() -> None:
    g.request_id = generate_request_id()
    g.started_at_s = time.monotonic()
    g.status = 500
    g.request_id_token = request_id_var.set(g.request_id)


def _name(response: Response) -> Response:
    g.status = response.status_code
    response.headers["x-request-id"] = g.request_id
    return response


def _end(error: BaseException | None) -> None:
    if "request_id" not in g:
        return
    logger.info(
        "http_request",
        extra={
            "method": request.method,
            # The rule, not the path: an unknown path may carry anything.
            "route": request.url_rule.rule if request.url_rule else None,
            "status": g.status,
            "duration_ms": int((time.monotonic() - g.started_at_s) * 1000),
            "failed": type(error).__name__ if error else None,
        },
    )
    request_id_var.set(None)
