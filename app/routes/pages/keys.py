"""API keys: made, changed, rotated, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import request
from flask_babel import gettext as _

from app.extensions import access, catalog
from app.routes.access import ADMINS, AUDITORS
from app.routes.pages import forms
from app.routes.pages.guard import requires_session
from app.routes.pages.pager import Pager
from app.routes.pages.shell import admin_pages, back_to, done, render
from app.schemas.keys import KeyChangeSchema, KeyQuery, NewKeySchema, RotationSchema
from app.services.key_store import KeyFilter
from app.utils.clock import SystemClock


@admin_pages.get("/keys")
@requires_session(*AUDITORS)
def list_keys() -> str:
    """Keys by their prefix; to make one"""
    asked = forms.query(KeyQuery())
    (after,) = asked["cursor"] or (0,)
    wanted = KeyFilter(asked["user"], asked["team"], asked["role"], asked["state"])
    found, last = access.key_page(wanted, asked["limit"], after)
    return render(
        "admin/keys.html",
        keys=found,
        asked=asked,
        pager=Pager((last,) if last else None),
        models=list(catalog.names()),
        now=SystemClock().now(),
    )


@admin_pages.post("/keys")
@requires_session(*ADMINS)
def create_key() -> str:
    """Make a key and show it, this once"""
    said = {
        **{it: forms.text(it) for it in ("name", "user", "team", "role")},
        "trusted": request.form.get("trusted") == "true",
        "models": request.form.getlist("models") or None,
        "expires_at": forms.moment("expires_at"),
    }
    body = forms.load(NewKeySchema(), said)
    key, record = access.create_key(
        body["name"],
        user_id=body["user"],
        team_id=body["team"],
        trusted=body["trusted"],
        allowed_models=body["models"],
        role=body["role"],
        expires_at=body["expires_at"],
    )
    return render("admin/made_key.html", key=key, record=record)


@admin_pages.get("/keys/<number:key_id>")
@requires_session(*AUDITORS)
def show_key(key_id: int) -> str:
    """One key: whose it is, what it may call; to rotate or revoke it"""
    return render(
        "admin/key.html",
        key=access.key(key_id),
        models=list(catalog.names()),
        now=SystemClock().now(),
    )


@admin_pages.post("/keys/<number:key_id>")
@requires_session(*ADMINS)
def change_key(key_id: int) -> Any:
    """Change which models a key may call, and when it expires"""
    said = {
        "models": request.form.getlist("models") or None,
        "expires_at": forms.moment("expires_at"),
    }
    access.change_key(key_id, KeyChangeSchema().load(said))
    done(_("Saved; it holds everywhere within 5 seconds."))
    return back_to(".show_key", key_id=key_id)


@admin_pages.post("/keys/<number:key_id>/rotate")
@requires_session(*ADMINS)
def rotate_key(key_id: int) -> str:
    """Make a key's successor and show it, this once"""
    body = forms.load(RotationSchema(), {"grace_s": forms.whole("grace_s")})
    key, record = access.rotate_key(key_id, timedelta(seconds=body["grace_s"]))
    return render("admin/made_key.html", key=key, record=record)


@admin_pages.post("/keys/<number:key_id>/revoke")
@requires_session(*ADMINS)
def revoke_key(key_id: int) -> Any:
    """Revoke a key; every worker refuses it within 5 seconds"""
    access.revoke_key(key_id)
    done(_("The key is revoked; every worker refuses it within 5 seconds."))
    return back_to(".show_key", key_id=key_id)
