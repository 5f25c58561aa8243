"""Who may call a route: every view states its policy with one of these decorators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from flask import current_app, g, request

from app.extensions import access
from app.routes.client_address import client_address, is_in_networks
from app.services.access_service import Caller
from app.utils.actor import actor_var

AnyView = Callable[..., Any]
View = TypeVar("View", bound=AnyView)

POLICY_ATTRIBUTE = "access_policy"
KEY_POLICY = "key"
TRUSTED_KEY_POLICY = "trusted key"

# Of `/api/admin`: who may read figures, who may read what people did, who may change anything.
READERS = ("viewer", "auditor", "admin")
AUDITORS = ("auditor", "admin")
ADMINS = ("admin",)


def requires_key(view: AnyView) -> AnyView:
    """Let in whoever has a live key."""
    return _guarded(view, KEY_POLICY, lambda _caller: None)


def requires_trusted_key(view: AnyView) -> AnyView:
    """Let in keys that may speak for people."""
    return _guarded(view, TRUSTED_KEY_POLICY, lambda caller: caller.require_trust())


def requires_role(*roles: str) -> Callable[[AnyView], AnyView]:
    """Let in keys of these roles only; what they change is recorded as theirs."""

    def decorate(view: AnyView) -> AnyView:
        return _guarded(view, ",".join(roles), lambda caller: caller.require_role(*roles))

    return decorate


def requires_role_or_network(networks: Callable[[], str], *roles: str) -> Callable[[View], View]:
    """Let in whoever calls from one of these networks, and keys of these roles."""

    def decorate(view: View) -> View:
        guarded = requires_role(*roles)(view)

        @wraps(view)
        async def chosen(**view_args: Any) -> Any:
            is_near = is_in_networks(client_address(), networks())
            return await (view if is_near else guarded)(**view_args)

        setattr(chosen, POLICY_ATTRIBUTE, ",".join(roles))
        return cast("View", chosen)

    return decorate


def open_to(whom: str) -> Callable[[View], View]:
    """State that the view needs no key, and whom it is open to: everyone, or a signed sender."""

    def decorate(view: View) -> View:
        setattr(view, POLICY_ATTRIBUTE, whom)
        return view

    return decorate


def current_caller() -> Caller:
    caller: Caller = g.caller
    return caller


def _guarded(view: AnyView, policy: str, check: Callable[[Caller], None]) -> AnyView:
    """Who calls is known before anything is parsed. A plain view stays a plain one: it blocks."""

    @wraps(view)
    async def guarded(**view_args: Any) -> Any:
        g.caller = await access.identify(request.headers)
        check(g.caller)
        with acting_as(f"key:{g.caller.key_name}"):
            return await view(**view_args)

    @wraps(view)
    def guarded_in_thread(**view_args: Any) -> Any:
        g.caller = current_app.ensure_sync(access.identify)(request.headers)
        check(g.caller)
        with acting_as(f"key:{g.caller.key_name}"):
            return view(**view_args)

    chosen = guarded if inspect.iscoroutinefunction(view) else guarded_in_thread
    setattr(chosen, POLICY_ATTRIBUTE, policy)
    return chosen


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Have what is done go on record as the actor's: a key, or a person."""
    token = actor_var.set(actor)
    try:
        yield
    finally:
        actor_var.reset(token)
