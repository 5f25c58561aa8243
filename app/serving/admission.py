"""How much one worker takes on at once; beyond it callers hear so at once, instead of waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.utils.exceptions import OverloadedError

RETRY_AFTER_S = 1.0


class AdmissionGate:
    """Counts the requests, and the bytes of their bodies, that this worker holds.

    Used on one event loop only, so plain integers do.
    """

    def __init__(self, max_requests: int, max_body_bytes: int) -> None:
        self._free_requests = max_requests
        self._free_bytes = max_body_bytes

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one slot. Raises: OverloadedError, when none is free."""
        if self._free_requests <= 0:
            raise OverloadedError(retry_after_s=RETRY_AFTER_S)
        self._free_requests -= 1
        try:
            yield
        finally:
            self._free_requests += 1

    def take_bytes(self, count: int) -> None:
        """Raises: OverloadedError, when the bodies in memory would grow too large."""
        if count > self._free_bytes:
            raise OverloadedError(retry_after_s=RETRY_AFTER_S)
        self._free_bytes -= count

    def give_bytes(self, count: int) -> None:
        self._free_bytes += count
