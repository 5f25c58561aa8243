"""How much of what anybody can cause is put on record: whoever floods us does not fill the disk."""

from __future__ import annotations

from app.utils.clock import Clock


class Trickle:
    """So many a second, and a count of the rest. Used on one event loop."""

    def __init__(self, clock: Clock, most_a_second: int) -> None:
        self._clock = clock
        self._most = most_a_second
        self._second = 0
        self._taken = 0
        self._left_out = 0

    def has_room(self) -> bool:
        """Tell whether one more may be recorded, and count it either way."""
        second = int(self._clock.steady_s())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        if self._taken > self._most:
            self._left_out += 1
            return False
        return True

    def take_left_out(self) -> int:
        """Return how many had no room since this was last asked."""
        left_out, self._left_out = self._left_out, 0
        return left_out
