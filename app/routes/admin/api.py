"""flask-smorest as `/api/admin` uses it: who may call is checked before anything is parsed, errors
leave in the product's own envelope, and the OpenAPI says who may call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from http import HTTPStatus
from typing import Any, NoReturn, cast

import orjson
from flask import Flask, Request
from flask_smorest import Api, Blueprint
from marshmallow import Schema, ValidationError, missing
from webargs.flaskparser import FlaskParser

from app.config.messages import DETAILS
from app.routes.access import POLICY_ATTRIBUTE
from app.routes.admin.converters import (
    MAX_NAME_LENGTH,
    DayConverter,
    NameConverter,
    NumberConverter,
)
from app.schemas.base import ErrorAnswer
from app.utils.exceptions import InvalidFieldError, InvalidRequestError
from app.version import __version__

View = Callable[..., Any]
Decorator = Callable[[View], View]

PREFIX = "/api/admin"
# Where flask-smorest keeps what it knows of a view.
DOC_ATTRIBUTE = "_apidoc"
OPENAPI_VERSION = "3.1.0"
SECURITY_SCHEME = "key"
# Of every route: no key, not that role, and Postgres away.
COMMON_ERRORS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)
INFO = {
    "description": (
        "What administrators, auditors and viewers read and change. Money is in integer micro-USD, "
        "times are UTC, days are of TIMEZONE. A list answers with `data` and `next_cursor`."
    )
}


class Parser(FlaskParser):
    """Reads JSON bodies, whatever they call themselves, and queries; unknown fields are errors."""

    # The schema decides, in every location.
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {}  # noqa: RUF012  # webargs's form

    def load_json(self, req: Request, schema: Schema) -> Any:  # noqa: ARG002  # as webargs calls it
        """Raises: InvalidRequestError."""
        body = req.get_data(cache=False)
        if not body.strip():
            return missing
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise InvalidRequestError("not_json") from None

    def handle_error(self, error: ValidationError, *_args: Any, **_options: Any) -> NoReturn:
        """Raises: InvalidFieldError, of the first field that is wrong."""
        # The messages are by where it was: json or query.
        (messages,) = error.messages_dict.values()
        raise first_problem(messages)


class AdminBlueprint(Blueprint):  # type: ignore[misc]  # flask-smorest has no types
    """A part of `/api/admin`."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, name: str, import_name: str, path: str, description: str) -> None:
        super().__init__(name, import_name, url_prefix=PREFIX + path, description=description)

    def get(self, rule: str) -> Decorator:
        return self._routed(rule, "GET")

    def post(self, rule: str) -> Decorator:
        return self._routed(rule, "POST")

    def patch(self, rule: str) -> Decorator:
        return self._routed(rule, "PATCH")

    def delete(self, rule: str) -> Decorator:
        return self._routed(rule, "DELETE")

    def query(self, schema: type[Schema]) -> Decorator:
        """Read the query by a schema, and hand it to the view as a dict."""
        return cast("Decorator", self.arguments(schema, location="query"))

    def body(self, schema: type[Schema]) -> Decorator:
        """Read the JSON body by a schema, and hand it to the view as a dict."""
        return cast("Decorator", self.arguments(schema))

    def answers(self, status: int, schema: type[Schema] | None = None) -> Decorator:
        return cast("Decorator", self.response(status, schema))

    def may_answer(self, status: int, description: str, **options: Any) -> Decorator:
        """Document another answer; ``options``: flask-smorest's `alt_response`."""
        return cast("Decorator", self.alt_response(status, description=description, **options))

    def _routed(self, rule: str, method: str) -> Decorator:
        def decorate(view: View) -> View:
            _document(view)
            self.add_url_rule(rule, view.__name__, view, methods=[method])
            return view

        return decorate


class AdminApi(Api):  # type: ignore[misc]
    ERROR_SCHEMA = ErrorAnswer
    # Every error of a route is stated by itself.
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        """Leave errors to `app.errors`."""


def make_api(app: Flask) -> AdminApi:
    app.config.update(
        API_TITLE="IA SOLARIS Proxy: /api/admin",
        API_VERSION=__version__,
        OPENAPI_VERSION=OPENAPI_VERSION,
    )
    app.url_map.converters |= {
        "name": NameConverter,
        "number": NumberConverter,
        "day": DayConverter,
    }
    api = AdminApi(app, spec_kwargs={"info": INFO})
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": "A key with a role, or ADMIN_API_KEY.",
    }
    api.spec.components.security_scheme(SECURITY_SCHEME, scheme)
    api.register_converter(NameConverter, _name_doc)
    api.register_converter(NumberConverter, _number_doc)
    api.register_converter(DayConverter, _day_doc)
    return api


def _name_doc(_converter: object) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH}


def _number_doc(_converter: object) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1}


def _day_doc(_converter: object) -> dict[str, Any]:
    return {"type": "string", "format": "date"}


def first_problem(messages: Any) -> InvalidRequestError:
    """Return the first field that a schema found wrong, as the error that names it."""
    names, code = next(_problems(messages))
    if not names:
        return InvalidRequestError("not_json")
    detail, _, allowed = code.partition("|")
    known = detail if detail in DETAILS["en"] else "not_valid"
    return InvalidFieldError(known, param=".".join(names), allowed=allowed)


def errors(*statuses: int) -> Decorator:
    """Document which errors a route answers with, but for those of every route."""

    def decorate(view: View) -> View:
        _add_doc(view, {"responses": _documented(statuses)})
        return view

    return decorate


def _document(view: View) -> None:
    """Say in the OpenAPI who may call, and what every route may answer with."""
    roles = getattr(view, POLICY_ATTRIBUTE).split(",")
    _add_doc(
        view,
        {
            "operationId": view.__name__,
            "security": [{SECURITY_SCHEME: []}],
            "x-roles": roles,
            "responses": _documented(COMMON_ERRORS),
        },
    )


def _documented(statuses: Iterable[int]) -> dict[str, str]:
    """Return the names of the answers' components, by status."""
    return {str(int(it)): HTTPStatus(it).name for it in statuses}


def _add_doc(view: View, doc: Mapping[str, Any]) -> None:
    known = deepcopy(getattr(view, DOC_ATTRIBUTE, {}))
    manual = known.setdefault("manual_doc", {})
    responses = {**doc.get("responses", {}), **manual.get("responses", {})}
    known["manual_doc"] = {**manual, **doc, "responses": responses}
    setattr(view, DOC_ATTRIBUTE, known)


def _problems(messages: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each field's path and its error."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from _problems(inner, path if name == "_schema" else (*path, str(name)))
    elif isinstance(messages, list):
        for inner in messages:
            yield from _problems(inner, path)
    else:
        yield path, str(messages)
