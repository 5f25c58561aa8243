"""What is around every page: its language, its headers, forms of our own only, errors as pages."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_babel import Babel, get_locale
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError, CSRFProtect, generate_csrf
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as BaseResponse

from app.config.messages import message_for
from app.config.problems import LOCALES
from app.extensions import describe, services_of, settings
from app.routes.pages import charts, present, words
from app.utils.exceptions import SolarisError
from app.version import __version__

logger = logging.getLogger(__name__)

admin_pages = Blueprint("admin_pages", __name__, url_prefix="/admin")
me_pages = Blueprint("me_pages", __name__, url_prefix="/me")
csrf = CSRFProtect()

LANGUAGE = "language"
REFUSED = "refused"
# Its own scripts, styles and pictures; nothing of others, nothing inline, in no frame.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # A form must be able to say that it is of our own.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
# What a refused form is told beside, instead of on a page of its own.
TOLD_AT_THE_FORM = frozenset({400, 404, 409, 422})
NEVER_KEPT = frozenset({"csrf_token", "back", "key", "token"})
MOST_KEPT_FIELDS, MOST_KEPT_LENGTH = 12, 500
STATIC_MAX_AGE_S = 365 * 86_400


def init_shell(app: Flask) -> None:
    app.config.update(
        BABEL_DEFAULT_LOCALE=services_of(app).settings.locale,
        BABEL_DEFAULT_TIMEZONE=services_of(app).settings.budgets.timezone,
        BABEL_TRANSLATION_DIRECTORIES=str(Path(app.root_path) / "translations"),
        # Each page asks by itself: `/api` has no forms.
        WTF_CSRF_CHECK_DEFAULT=False,
        # As long as the session.
        WTF_CSRF_TIME_LIMIT=None,
        SEND_FILE_MAX_AGE_DEFAULT=STATIC_MAX_AGE_S,
    )
    Babel(app, locale_selector=_language)
    csrf.init_app(app)
    app.jinja_env.filters.update(present.FILTERS)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def render(template: str, **values: Any) -> str:
    """Render a whole page; what a form was refused for is told once."""
    g.refused = session.pop(REFUSED, None)
    return render_template(template, **values)


def is_fragment() -> bool:
    """Tell whether a part of a page asks for itself anew."""
    return request.headers.get("HX-Request") == "true"


def back_to(endpoint: str, **values: Any) -> BaseResponse:
    """Return to a page after a change, so that reloading it changes nothing again."""
    return redirect(url_for(endpoint, **values), 303)


def done(message: str) -> None:
    """Tell on the next page what was done."""
    flash(message, "done")


def _language() -> str:
    chosen = session.get(LANGUAGE) if session else None
    return chosen if chosen in LOCALES else str(settings.locale)


def language() -> str:
    """Return the reader's language, as messages and figures know it."""
    return str(get_locale())


@cache
def _version_of(folder: str, name: str) -> str:
    return hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest()[:12]


def static_url(name: str) -> str:
    """Return where a file is, by its content: it may be kept for good."""
    folder = current_app.static_folder or ""
    return url_for("static", filename=name, v=_version_of(folder, name))


def _context() -> dict[str, Any]:
    return {
        "static_url": static_url,
        "language": language(),
        "languages": words.LANGUAGES,
        "words": words,
        "charts": charts,
        "refused": g.get("refused"),
        # Not `caller`: to macros that is something else.
        "signed_in": g.get("caller"),
        "person_id": g.get("person_id"),
        "product_version": __version__,
        "csrf_token": generate_csrf,
        "timezone": settings.budgets.timezone,
    }


def _protect() -> None:
    csrf.protect()


def _secure(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if settings.is_production:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


def _solaris_error(error: SolarisError) -> Any:
    g.failure = error
    message = describe(_by_its_label(error), language())
    if request.method == "POST" and error.status in TOLD_AT_THE_FORM and request.form.get("form"):
        return _told_at_the_form(error, message)
    response = current_app.make_response(error_page(error.status, message))
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(int(error.retry_after_s) + 1)
    return response


def _by_its_label(error: SolarisError) -> SolarisError:
    """Call a field what the form calls it."""
    if error.param in words.FIELDS and "field" in error.values:
        error.values = {**error.values, "field": f"“{words.FIELDS[error.param]}”"}
    return error


def _told_at_the_form(error: SolarisError, message: str) -> BaseResponse:
    """Go back to the form, with all that was written in it."""
    session[REFUSED] = {
        "form": request.form["form"],
        "values": _kept(),
        "field": error.param,
        "message": message,
    }
    return redirect(_back(), 303)


def _kept() -> dict[str, str]:
    """Return what was written, as far as a cookie has room."""
    said = [(name, it) for name, it in request.form.items() if name not in NEVER_KEPT]
    return {name: it[:MOST_KEPT_LENGTH] for name, it in said[:MOST_KEPT_FIELDS]}


def _back() -> str:
    """Return where the form was: an address of ours."""
    back = request.form.get("back", "")
    is_ours = back.startswith(("/admin/", "/me")) and "//" not in back and "\\" not in back
    return back if is_ours else url_for("admin_pages.home")


def _csrf_error(_error: CSRFError) -> tuple[str, int]:
    return error_page(400, _("This page was open for too long. Go back, reload it and try again."))


def _http_error(error: HTTPException) -> Any:
    if error.code is not None and error.code < 400:
        return error
    if isinstance(error, NotFound):
        return error_page(404, _("There is no page at this address."))
    return error_page(error.code or 500, _("The page could not be shown."))


def _internal_error(error: Exception) -> tuple[str, int]:
    # The trace goes to the log only, the request id ties the two together.
    logger.error("unhandled_exception", exc_info=error)
    message = message_for("internal_error", language(), request_id=g.get("request_id", "-"))
    return error_page(500, message)


def error_page(status: int, message: str) -> tuple[str, int]:
    return render_template("error.html", status=status, message=message), status


for _pages in (admin_pages, me_pages):
    _pages.before_request(_protect)
    _pages.after_request(_secure)
    _pages.context_processor(_context)
    _pages.register_error_handler(SolarisError, _solaris_error)
    _pages.register_error_handler(CSRFError, _csrf_error)
    _pages.register_error_handler(HTTPException, _http_error)
    _pages.register_error_handler(Exception, _internal_error)
