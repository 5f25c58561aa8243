"""Traces: one span a call, one under it for each model that is asked. Else nothing at all.

What a span says is what is on record of the call without whose it was: no person, no key, no text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from app.audit.event import AuditEvent


class Headers(Protocol):
    """Header values by name, in any case."""

    def get(self, key: str, /) -> str | None: ...


class CallSpan:
    """One call. This one is of nobody who traces."""

    @contextmanager
    def attempt(self, model: str) -> Iterator[Mapping[str, str]]:  # noqa: ARG002  # nobody traces
        """Be around one model's being asked; yield the headers that go with the request."""
        yield {}

    def end(self, event: AuditEvent) -> None:
        """The call is over, and ``event`` goes on record."""


class Tracing:
    """Begins spans. This one traces nothing."""

    def begin(self, name: str, request_id: str, headers: Headers) -> CallSpan:  # noqa: ARG002
        """Return the span of a call that came with these headers: W3C's, where there are any."""
        return UNTRACED

    def close(self) -> None:
        """Send what has not been sent. Blocks."""


UNTRACED = CallSpan()
