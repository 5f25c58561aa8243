"""`/api/admin`: for administrators, auditors and viewers.

A module for each part; `api` has what they share. Each view says who may call it, reads its query
or body by a schema, calls one service, and answers by a schema.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app

from app.routes.access import READERS, requires_role
from app.routes.admin.alerts import alerts_bp
from app.routes.admin.api import PREFIX, AdminApi, make_api
from app.routes.admin.audit import audit_bp
from app.routes.admin.budgets import budgets_bp, raise_requests_bp, raises_bp
from app.routes.admin.fallback import fallback_bp
from app.routes.admin.keys import keys_bp
from app.routes.admin.kill_switch import kill_switch_bp
from app.routes.admin.models import models_bp
from app.routes.admin.people import teams_bp, users_bp
from app.routes.admin.reconciliation import reconciliation_bp
from app.routes.admin.usage import usage_bp

API_KEY = "solaris-admin-api"
PARTS = (
    models_bp,
    fallback_bp,
    keys_bp,
    users_bp,
    teams_bp,
    budgets_bp,
    raises_bp,
    raise_requests_bp,
    kill_switch_bp,
    usage_bp,
    audit_bp,
    alerts_bp,
    reconciliation_bp,
)


def register_admin(app: Flask) -> None:
    api = app.extensions[API_KEY] = make_api(app)
    for blueprint in PARTS:
        api.register_blueprint(blueprint)
    app.add_url_rule(f"{PREFIX}/openapi.json", view_func=get_openapi)


@requires_role(*READERS)
def get_openapi() -> dict[str, Any]:
    """Return the description of these routes (OpenAPI 3.1)."""
    api: AdminApi = current_app.extensions[API_KEY]
    description: dict[str, Any] = api.spec.to_dict()
    return description
