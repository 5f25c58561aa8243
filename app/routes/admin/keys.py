"""API keys: who may call, as whom, and for how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.extensions import access
from app.routes.access import ADMINS, AUDITORS, requires_role
from app.routes.admin.api import AdminBlueprint, errors
from app.schemas.base import page, page_of
from app.schemas.keys import (
    KeyChangeSchema,
    KeyQuery,
    KeySchema,
    MadeKeySchema,
    NewKeySchema,
    RotationSchema,
)
from app.services.key_store import KeyFilter, KeyRecord

keys_bp = AdminBlueprint("keys", __name__, "/keys", "API keys")


@keys_bp.get("")
@requires_role(*AUDITORS)
@keys_bp.query(KeyQuery)
@errors(422)
@keys_bp.answers(200, page_of(KeySchema))
def list_keys(query: dict[str, Any]) -> dict[str, Any]:
    """Keys by prefix, in the order in which they were made"""
    wanted = KeyFilter(query["user"], query["team"], query["role"], query["state"])
    (after,) = query["cursor"] or (0,)
    found, last = access.key_page(wanted, query["limit"], after)
    return page(found, (last,) if last else None)


@keys_bp.post("")
@requires_role(*ADMINS)
@keys_bp.body(NewKeySchema)
@errors(400, 409, 422)
@keys_bp.answers(201, MadeKeySchema)
def create_key(body: dict[str, Any]) -> dict[str, Any]:
    """Make a key; it is shown this once"""
    key, record = access.create_key(
        body["name"],
        user_id=body["user"],
        team_id=body["team"],
        trusted=body["trusted"],
        allowed_models=body["models"],
        role=body["role"],
        expires_at=body["expires_at"],
    )
    return {"key": key, "record": record}


@keys_bp.get("/<number:key_id>")
@requires_role(*AUDITORS)
@errors(404)
@keys_bp.answers(200, KeySchema)
def get_key(key_id: int) -> KeyRecord:
    """One key"""
    return access.key(key_id)


@keys_bp.patch("/<number:key_id>")
@requires_role(*ADMINS)
@keys_bp.body(KeyChangeSchema)
@errors(400, 404, 409, 422)
@keys_bp.answers(200, KeySchema)
def change_key(body: dict[str, Any], key_id: int) -> KeyRecord:
    """Change which models a key may call, or when it expires; within 5 seconds everywhere"""
    return access.change_key(key_id, body)


@keys_bp.post("/<number:key_id>/rotate")
@requires_role(*ADMINS)
@keys_bp.body(RotationSchema)
@errors(400, 404, 409, 422)
@keys_bp.answers(201, MadeKeySchema)
def rotate_key(body: dict[str, Any], key_id: int) -> dict[str, Any]:
    """Make a key's successor, of the same name, owner and budgets; it is shown this once"""
    key, record = access.rotate_key(key_id, timedelta(seconds=body["grace_s"]))
    return {"key": key, "record": record}


@keys_bp.delete("/<number:key_id>")
@requires_role(*ADMINS)
@errors(404, 409)
@keys_bp.answers(200, KeySchema)
def revoke_key(key_id: int) -> KeyRecord:
    """Revoke a key; every worker refuses it within 5 seconds"""
    return access.revoke_key(key_id)
