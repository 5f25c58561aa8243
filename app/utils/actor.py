"""Who acts: the administrator behind a request, or the one at the command line."""

from __future__ import annotations

from contextvars import ContextVar

actor_var: ContextVar[str] = ContextVar("actor", default="system")
