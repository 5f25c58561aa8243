"""Links that sign a person in to `/me`; a trusted key makes them for the people it speaks for."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from flask import Blueprint, request, url_for

from app.extensions import page_sessions, settings
from app.routes.access import current_caller, requires_trusted_key
from app.schemas.people import SignInLinkSchema
from app.utils.exceptions import InvalidRequestError

sign_in_links_bp = Blueprint("sign_in_links", __name__)


@sign_in_links_bp.post("/api/me/sign-in-link")
@requires_trusted_key
def make_own_sign_in_link() -> tuple[Any, int]:
    """Make a link for the person that the headers name."""
    user_id = current_caller().user_id
    if user_id is None:
        raise InvalidRequestError("required", param="X-Solaris-User-Id")
    return SignInLinkSchema().dump(sign_in_link(user_id)), 201


def sign_in_link(user_id: str) -> dict[str, Any]:
    """Make a link, and return what `SignInLinkSchema` serialises."""
    link = page_sessions.link(user_id)
    return {
        "user": link.user_id,
        "url": address_of(link.token),
        "expires_at": link.expires_at,
    }


def address_of(token: str) -> str:
    """Return the address to send to a person: where DASHBOARD_URL is, else where we were asked."""
    path = url_for("me_pages.show_link", token=token)
    known = settings.alerts.dashboard_url
    if not known:
        return urljoin(request.host_url, path)
    parts = urlsplit(known)
    return f"{parts.scheme}://{parts.netloc}{path}"
