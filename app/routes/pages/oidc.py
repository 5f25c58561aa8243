"""Signing in to `/me` by OpenID Connect, where it is configured."""

from __future__ import annotations

import logging
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Flask, current_app, redirect, render_template, session, url_for
from joserfc.errors import JoseError
from requests import RequestException

from app.extensions import describe, page_sessions, people, services_of, settings
from app.routes.access import open_to
from app.routes.client_address import client_address
from app.routes.pages.me import begin_as
from app.routes.pages.shell import LANGUAGE, error_page, language, me_pages
from app.utils.exceptions import SignInRefusedError

logger = logging.getLogger(__name__)

PROVIDER = "oidc"
EXTENSION_KEY = "solaris-oidc"
SCOPES = "openid email profile"
TIMEOUT_S = 5.0
EMAIL = "email"


def init_app(app: Flask) -> None:
    oidc = services_of(app).settings.pages.oidc
    if not oidc.issuer:
        return
    oauth = app.extensions[EXTENSION_KEY] = OAuth(app)
    oauth.register(
        PROVIDER,
        server_metadata_url=f"{oidc.issuer}/.well-known/openid-configuration",
        client_id=oidc.client_id,
        client_secret=oidc.client_secret,
        client_kwargs={
            "scope": SCOPES,
            "code_challenge_method": "S256",
            "default_timeout": TIMEOUT_S,
        },
    )


@me_pages.get("/oidc")
@open_to("everyone")
def begin_oidc() -> Any:
    """Go to the company's own sign-in"""
    client = _client()
    if client is None:
        return redirect(url_for("me_pages.sign_in"), 303)
    try:
        return client.authorize_redirect(url_for("me_pages.end_oidc", _external=True))
    except (RequestException, OAuthError) as fault:
        return _failed(fault)


@me_pages.get("/oidc/callback")
@open_to("everyone")
def end_oidc() -> Any:
    """Sign in whom the company's own sign-in names"""
    client = _client()
    if client is None:
        return redirect(url_for("me_pages.sign_in"), 303)
    page_sessions.require_patience(client_address())
    chosen = language()
    try:
        claims = client.authorize_access_token()["userinfo"]
        user_id = _person_of(claims)
    except (RequestException, OAuthError, JoseError, KeyError) as fault:
        return _failed(fault)
    except SignInRefusedError as refusal:
        page_sessions.refused(client_address())
        page = render_template("me/sign_in.html", problem=describe(refusal, chosen), has_oidc=True)
        return page, refusal.status
    session[LANGUAGE] = chosen
    return begin_as(user_id, PROVIDER)


def _client() -> Any:
    oauth = current_app.extensions.get(EXTENSION_KEY)
    return oauth.create_client(PROVIDER) if oauth is not None else None


def _person_of(claims: Any) -> str:
    """Return whom the claims name: by their id here, else by an address that was verified.

    Raises: SignInRefusedError.
    """
    claim = settings.pages.oidc.claim
    said = claims.get(claim)
    if not isinstance(said, str) or not said:
        raise SignInRefusedError
    if claim == EMAIL:
        if claims.get("email_verified") is not True:
            raise SignInRefusedError
        found = people.by_email(said)
    else:
        found = people.known_id(said)
    if found is None:
        raise SignInRefusedError
    return found


def _failed(fault: Exception) -> tuple[str, int]:
    # Its text may quote what was sent.
    logger.warning("oidc_failed", extra={"fault": type(fault).__name__})
    return error_page(502, describe(SignInRefusedError(), language()))
