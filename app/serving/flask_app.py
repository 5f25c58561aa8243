"""Flask, with coroutines run on the process's one loop instead of a new loop a request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from app.serving.body import AsyncBody
from app.utils.background_loop import BackgroundLoop

PAGE_PREFIXES = ("/admin/", "/me/")
# A person's own page, which has none behind it.
PERSONS_PAGE = "/me"


class PageSessions(SecureCookieSessionInterface):
    """Sessions for the pages only: a call with a key has none, and need not pay for one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if request.path == PERSONS_PAGE or request.path.startswith(PAGE_PREFIXES):
            return super().open_session(app, request)
        return self.make_null_session(app)


class SolarisFlask(Flask):
    """The application class.

    Flask's default starts a loop for each call of an async view, so a shared ClientSession would
    serve the first request and fail ever after.
    """

    session_interface = PageSessions()

    def __init__(self, import_name: str, **options: Any) -> None:
        super().__init__(import_name, **options)
        self.background_loop = BackgroundLoop()

    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        @wraps(func)
        def run(*args: Any, **kwargs: Any) -> Any:
            return self.background_loop.run(func(*args, **kwargs))

        return run

    def finalize_request(
        self, rv: ResponseReturnValue | HTTPException, *args: Any, **kwargs: Any
    ) -> Response:
        try:
            return super().finalize_request(rv, *args, **kwargs)
        except Exception:
            # The response is lost to a hook that failed; its upstream connection must not be.
            if isinstance(rv, Response) and isinstance(rv.response, AsyncBody):
                rv.response.abandon()
            raise
