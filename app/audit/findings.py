"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

# What can be wrong with a row,
EDITED, REMOVED, INSERTED, REORDERED = "edited", "removed", "inserted", "reordered"
# with rows that are good by themselves, but not what was signed together,
EXCHANGED = "exchanged"
# with the end of the trail,
TAIL_CUT = "tail_cut"
# with what signs the rows,
CHECKPOINT_EDITED, CHECKPOINT_REMOVED = "checkpoint_edited", "checkpoint_removed"
UNKNOWN_KEY = "unknown_key"
# and with what the rows refer to, or retention wrote.
NAME_CHANGED, NAME_REMOVED, DROP_EDITED = "name_changed", "name_removed", "drop_edited"


@dataclass(frozen=True, slots=True)
class Finding:
    """``seq`` is the first row that is wrong, or that cannot be trusted any more; None where it
    is a name that no row has."""

    problem: str
    seq: int | None
    event_id: str | None = None
    checkpoint: int | None = None
    # Of the dictionary.
    name: int | None = None
    key_id: str | None = None
    # How many rows from ``seq`` on are not there.
    missing: int | None = None
    # The number that the row had.
    was_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """``rows`` are those that were read and found good, of ``checkpoints``."""

    rows: int
    checkpoints: int
    names: int
    # Of checkpoints whose month retention dropped.
    dropped_rows: int
    # When the first of the checkpoints was signed; None where there are none.
    since: datetime | None
    finding: Finding | None = None

    @property
    def is_good(self) -> bool:
        return self.finding is None


def first_of(findings: list[Finding | None]) -> Finding | None:
    """Return the one with the lowest row; of two on the same row, the first in the list."""
    found = [it for it in findings if it is not None]
    return min(found, key=lambda it: float("inf") if it.seq is None else it.seq, default=None)
