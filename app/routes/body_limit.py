"""A limit of a view's own to the bodies that it takes, known before the body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from flask import request

from app.serving.loop_request import LIMIT_ATTRIBUTE

AsyncView = Callable[..., Awaitable[Any]]


def takes_at_most(limit_bytes: int) -> Callable[[AsyncView], AsyncView]:
    """Refuse larger bodies with a 413; the event loop does so without keeping them."""

    def decorate(view: AsyncView) -> AsyncView:
        @wraps(view)
        async def limited(**view_args: Any) -> Any:
            request.max_content_length = limit_bytes
            return await view(**view_args)

        setattr(limited, LIMIT_ATTRIBUTE, limit_bytes)
        return limited

    return decorate
