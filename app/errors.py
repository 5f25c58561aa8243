"""The HTTP edge of the exception tree: every failure leaves as one JSON envelope.

`{"error": {"message", "type", "param", "code"}}`, also for 404 and 405: OpenAI's clients read
`error.code`, LibreChat shows `error.message`.
"""

from __future__ import annotations

import logging
import math

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from app.config.messages import message_for
from app.extensions import services_of
from app.utils.error_body import envelope
from app.utils.exceptions import RequestTooLargeError, SolarisError

logger = logging.getLogger(__name__)

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
# LangChain-JS takes a Retry-After for leave to retry seven times, and does not wait for it.
_NO_RETRY_AFTER_FOR = "langchainjs-"


def init_app(app: Flask) -> None:
    services = services_of(app)

    def solaris_error(error: SolarisError) -> Response:
        response = _json(envelope(error, services.describe(error)), error.status)
        if error.should_retry is not None:
            response.headers["x-should-retry"] = str(error.should_retry).lower()
        if error.retry_after_s is not None and not _mistakes_retry_after():
            response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        return response

    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:
            return Response.force_type(error.get_response())
        if isinstance(error, RequestEntityTooLarge):
            return solaris_error(RequestTooLargeError(services.settings.server.max_body_bytes))
        response = _plain(_HTTP_CODES.get(status, "http_error"), status)
        # Such as the Allow of a 405.
        headers = dict(error.get_headers())
        response.headers.extend({k: v for k, v in headers.items() if k in ("Allow", "Retry-After")})
        return response

    def internal_error(error: Exception) -> Response:
        # Flask's own handler would show a page; the trace goes to the log only.
        logger.exception("unhandled_exception", exc_info=error)
        return _plain("internal_error", 500)

    def _plain(code: str, status: int) -> Response:
        kind = "invalid_request_error" if status < 500 else "server_error"
        message = message_for(code, services.settings.locale)
        body = {"message": message, "type": kind, "param": None, "code": code}
        return _json({"error": body}, status)

    app.register_error_handler(SolarisError, solaris_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, internal_error)


def _mistakes_retry_after() -> bool:
    return request.headers.get("User-Agent", "").startswith(_NO_RETRY_AFTER_FOR)


def _json(body: object, status: int) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/json")
