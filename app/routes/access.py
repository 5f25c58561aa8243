"""Who may call a route: every view states its policy with one of these decorators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from flask import g, request

from app.extensions import access
from app.services.access_service import Caller

AsyncView = Callable[..., Awaitable[Any]]
View = TypeVar("View", bound=Callable[..., Any])

POLICY_ATTRIBUTE = "access_policy"


def requires_key(view: AsyncView) -> AsyncView:
    """Let in whoever has a live key."""
    return _guarded(view, "key", lambda _caller: None)


def requires_role(*roles: str) -> Callable[[AsyncView], AsyncView]:
    """Let in keys of these roles only."""

    def decorate(view: AsyncView) -> AsyncView:
        return _guarded(view, ",".join(roles), lambda caller: caller.require_role(*roles))

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


def _guarded(view: AsyncView, policy: str, check: Callable[[Caller], None]) -> AsyncView:
    @wraps(view)
    async def guarded(**view_args: Any) -> Any:
        g.caller = await access.identify(request.headers)
        check(g.caller)
        return await view(**view_args)

    setattr(guarded, POLICY_ATTRIBUTE, policy)
    return guarded
