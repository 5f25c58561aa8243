"""What a form says, by the same schemas as `/api/admin`: a form is a body written by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from flask import request
from marshmallow import Schema, ValidationError

from app.extensions import settings
from app.routes.admin.api import first_problem
from app.routes.pages.shell import language
from app.utils.exceptions import InvalidFieldError

MONEY = "cost"
MICRO = Decimal(1_000_000)
# As people write figures in either language; which sign parts thousands, the language says.
_FIGURE = re.compile(r"[0-9][0-9.,' \u00a0]*", re.ASCII)
_POINTS = {"pt_BR": (".", ","), "en": (",", ".")}


def text(name: str) -> str | None:
    """Return what a field says, or None where it says nothing."""
    return (request.form.get(name) or "").strip() or None


def load(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schema makes of these. Raises: InvalidFieldError."""
    said = {name: value for name, value in values.items() if value is not None}
    try:
        loaded: dict[str, Any] = schema.load(said)
    except ValidationError as fault:
        raise first_problem(fault.messages) from None
    return loaded


def query(schema: Schema) -> dict[str, Any]:
    """Return what the address says; a field that was left empty says nothing."""
    said = {name: it.strip() for name, it in request.args.items() if it.strip()}
    known = {field.data_key or name for name, field in schema.fields.items()}
    return load(schema, {name: it for name, it in said.items() if name in known})


def whole(name: str) -> int | None:
    """Return a whole number. Raises: InvalidFieldError."""
    raw = text(name)
    if raw is None:
        return None
    value = _figure(name, raw)
    if value != value.to_integral_value():
        raise InvalidFieldError("not_integer", param=name)
    return int(value)


def amount(name: str, metric: str) -> int | None:
    """Return an amount in the ledger's unit: money is written in US$. Raises: InvalidFieldError."""
    raw = text(name)
    if raw is None or metric != MONEY:
        return whole(name)
    micro = _figure(name, raw) * MICRO
    if micro != micro.to_integral_value():
        raise InvalidFieldError("not_number", param=name)
    return int(micro)


def moment(name: str) -> str | None:
    """Return what a field for date and time says, in TIMEZONE. Raises: InvalidFieldError."""
    raw = text(name)
    if raw is None:
        return None
    try:
        local = datetime.fromisoformat(raw)
    except ValueError:
        raise InvalidFieldError("not_a_time", param=name) from None
    if local.tzinfo is None:
        local = local.replace(tzinfo=ZoneInfo(settings.budgets.timezone))
    return local.isoformat()


def in_days(days: int) -> str:
    """Return the moment so many days from now."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def _figure(name: str, raw: str) -> Decimal:
    thousands, point = _POINTS[language()]
    if not _FIGURE.fullmatch(raw) or len(raw) > 30:
        raise InvalidFieldError("not_number", param=name)
    plain = re.sub(r"[' \u00a0]", "", raw)
    if plain.count(thousands) and not _is_grouped(plain, thousands, point):
        # 1.50 where a comma is the point: what was meant is clear, and not 150.
        thousands, point = point, thousands
        if plain.count(thousands) and not _is_grouped(plain, thousands, point):
            raise InvalidFieldError("not_number", param=name)
    digits = plain.replace(thousands, "").replace(point, ".")
    if digits.count(".") > 1 or digits.endswith("."):
        raise InvalidFieldError("not_number", param=name)
    return Decimal(digits)


def _is_grouped(plain: str, thousands: str, point: str) -> bool:
    whole_part = plain.split(point, 1)[0]
    head, *groups = whole_part.split(thousands)
    rest = plain[len(whole_part) :]
    return 0 < len(head) <= 3 and all(len(it) == 3 for it in groups) and thousands not in rest
