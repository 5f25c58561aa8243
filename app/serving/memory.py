"""Memory of a worker that streams: collected seldom while it works, given back when it rests."""

from __future__ import annotations

import ctypes
import gc

# Each stream adds objects that live for minutes; with Python's own thresholds they were looked
# through again and again while many streams began.
THRESHOLDS = (10_000, 5, 5)


def prepare() -> None:
    """Set garbage collection up, once everything is imported and open."""
    # What was imported stays anyway; looking through it stalled every request for 70 ms about once
    # a second under load.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def give_back() -> None:
    """Collect garbage and return free memory to the system; takes tens of milliseconds."""
    gc.collect()
    # glibc's; elsewhere the allocator decides alone.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
