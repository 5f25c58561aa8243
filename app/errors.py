"""The HTTP edge of the exception tree: every failure leaves as JSON, in the API's own shape.

`{"error": {"message", "type", "param", "code"}}`, also for 404 and 405; under `/v1/messages`
Anthropic's.
"""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import orjson
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from app.config.messages import message_for
from app.dialects.base import ErrorFacts
from app.dialects.registry import dialect_at
from app.extensions import Services, describe, services_of
from app.utils.exceptions import InsufficientQuotaError, RequestTooLargeError, SolarisError

logger = logging.getLogger(__name__)

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
# What werkzeug's own errors say in headers, and a client needs.
_KEPT_HEADERS = frozenset({"Allow", "Location", "Retry-After", "WWW-Authenticate"})
# LangChain-JS takes a Retry-After for leave to retry seven times, and does not wait for it.
_NO_RETRY_AFTER_FOR = "langchainjs-"


def init_app(app: Flask) -> None:
    handlers = ErrorHandlers(services_of(app))
    app.register_error_handler(SolarisError, handlers.solaris_error)
    app.register_error_handler(HTTPException, handlers.http_error)
    app.register_error_handler(Exception, handlers.internal_error)


class PlainError(NamedTuple):
    """An error that is not of our own tree: a wrong address, a wrong method, a fault."""

    status: int
    type: str
    code: str
    param: str | None = None


class ErrorHandlers:
    """Flask's error handlers of one application, in its language."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def solaris_error(self, error: SolarisError) -> Response:
        if isinstance(error, InsufficientQuotaError):
            error.status = self._services.settings.budgets.quota_status
        g.failure = error
        response = _answer(error, describe(error, self._services.settings.locale))
        if error.should_retry is not None:
            response.headers["x-should-retry"] = str(error.should_retry).lower()
        if error.retry_after_s is not None and not _mistakes_retry_after():
            response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        return response

    def http_error(self, error: HTTPException) -> Response:
        if isinstance(error, RequestEntityTooLarge):
            limit_bytes = request.max_content_length
            limit_bytes = limit_bytes or self._services.settings.server.max_body_bytes
            return self.solaris_error(RequestTooLargeError(limit_bytes))
        status = error.code or 500
        response = self._plain(_HTTP_CODES.get(status, "http_error"), status)
        kept = [(name, value) for name, value in error.get_headers() if name in _KEPT_HEADERS]
        response.headers.extend(kept)
        return response

    def internal_error(self, error: Exception) -> Response:
        # The trace goes to the log only, the request id ties the two together.
        logger.error("unhandled_exception", exc_info=error)
        return self._plain("internal_error", 500)

    def _plain(self, code: str, status: int) -> Response:
        kind = "invalid_request_error" if status < 500 else "server_error"
        locale, request_id = self._services.settings.locale, g.get("request_id", "-")
        message = message_for(code, locale, request_id=request_id)
        return _answer(PlainError(status, kind, code), message)


def _mistakes_retry_after() -> bool:
    return request.headers.get("User-Agent", "").startswith(_NO_RETRY_AFTER_FOR)


def _answer(error: ErrorFacts, message: str) -> Response:
    body = dialect_at(request.path).error_body(error, message, g.get("request_id", ""))
    return Response(orjson.dumps(body), error.status, content_type="application/json")
