"""Server-sent events, sans I/O: bytes in, the same bytes out, cut at event boundaries.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re

# Two line ends of any kind. Atomic groups, so that one "\r\n" is never taken for two ends.
_BOUNDARY = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
# At the end of a chunk these may be the first part of a boundary that ends with "\r\n".
_UNCERTAIN = (b"\r\n\r", b"\n\r")
# Longer events pass through unread: a proxy must not hold a 64 MB line in memory.
MAX_EVENT_BYTES = 1024 * 1024


class EventSplitter:
    """Collects chunks of any size and returns whole events, terminators included.

    ``mid_event`` tells that part of an oversized event has been let through, so that nothing
    may be put in between.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._rest = b""
        self._max_event_bytes = max_event_bytes
        self.mid_event = False

    def feed(self, data: bytes) -> list[bytes]:
        if not self._rest and _is_one_event(data):
            self.mid_event = False
            return [data]
        data = self._rest + data if self._rest else data
        events: list[bytes] = []
        start = 0
        # A boundary may straddle two chunks, but everything before the last 3 bytes of the
        # rest was searched already.
        search_from = max(0, len(self._rest) - 3)
        while match := _BOUNDARY.search(data, search_from):
            if match.end() == len(data) and match[0] in _UNCERTAIN:
                break
            events.append(data[start : match.end()])
            start = search_from = match.end()
        self._rest = data[start:]
        if events:
            self.mid_event = False
        if len(self._rest) > self._max_event_bytes:
            # All but the last bytes, which may be the first half of a boundary.
            events.append(self._rest[:-3])
            self._rest = self._rest[-3:]
            self.mid_event = True
        return events

    def flush(self) -> bytes:
        """Return what is left when the stream has ended; an unfinished event, or nothing."""
        rest, self._rest = self._rest, b""
        return rest


def _is_one_event(data: bytes) -> bool:
    """Tell, more cheaply than by the grammar, what nearly every chunk is."""
    return data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data


def event_data(event: bytes) -> bytes:
    """Return the event's data: its `data:` lines, joined by newlines."""
    if event.startswith(b"data: ") and event.count(b"\n", 0, -2) == 0 and b"\r" not in event:
        return event[6:].rstrip(b"\n")  # the shape that nearly every event has
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(line.removeprefix(b" ") for line in lines)
