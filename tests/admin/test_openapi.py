"""The description of `/api/admin`: it is what the application does, and what is committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from marshmallow import Schema, class_registry

from app.config.messages import DETAILS
from app.config.settings import PROJECT_ROOT
from app.routes.access import POLICY_ATTRIBUTE
from app.schemas.base import Asked
from app.serving.flask_app import SolarisFlask
from tests.admin.conftest import Ask

COMMITTED: Path = PROJECT_ROOT / "docs" / "openapi.json"


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                yield method.upper(), path, operation


def test_served_description_is_the_one_that_is_committed(ask: Ask) -> None:
    served = ask("GET", "/openapi.json").get_json()

    # Where it differs: make openapi
    assert served == orjson.loads(COMMITTED.read_bytes())


def test_description_has_every_admin_route_but_its_own_with_its_roles(
    app: SolarisFlask, ask: Ask
) -> None:
    described = {
        operation["operationId"]: operation["x-roles"]
        for _, _, operation in operations(ask("GET", "/openapi.json").get_json())
    }
    views = {
        view.__name__: getattr(view, POLICY_ATTRIBUTE).split(",")
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/admin/") and rule.endpoint != "get_openapi"
        for view in (app.view_functions[rule.endpoint],)
    }

    assert described == views


def test_every_error_of_a_field_has_a_text(app: SolarisFlask) -> None:
    used = {
        str(text).partition("|")[0]
        for schema in asked_schemas()
        for field in schema().fields.values()
        for name, text in field.error_messages.items()
        # What marshmallow itself calls so: no field says it.
        if name != "validator_failed"
    }

    assert used <= DETAILS["en"].keys()


def asked_schemas() -> Iterator[type[Schema]]:
    for found in class_registry._registry.values():  # there is no other way to them
        for schema in found if isinstance(found, list) else []:
            if isinstance(schema, type) and issubclass(schema, Asked):
                yield schema
