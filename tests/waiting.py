"""Waiting for what happens elsewhere, in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_S = 0.005


def wait_until(holds: Callable[[], object], within_s: float = 10.0) -> None:
    """Return as soon as ``holds`` does. Raises: AssertionError, when it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {within_s} s"
        time.sleep(POLL_S)
