"""What is wrong where a row is not the one that was signed: slow, for one row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.audit.chain import AuditKey, AuditKeys, Checkpoint
from app.audit.findings import (
    CHECKPOINT_REMOVED,
    EDITED,
    EXCHANGED,
    INSERTED,
    REMOVED,
    REORDERED,
    TAIL_CUT,
    Finding,
)
from app.audit.row_check import copy_lines, is_genuine, split

# How far from its place a row's own number is looked for, both ways.
REACH = 100_000

NEXT_ROW = "SELECT min(seq) FROM audit_events WHERE seq > %s"
LAST_SEQ = "SELECT max(last_seq) FROM audit_checkpoints"
FIRST_ROW = """
    SELECT seq, event_id::text FROM audit_events WHERE seq BETWEEN %s AND %s
    ORDER BY seq, event_id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Line:
    row: bytes
    code: bytes

    @property
    def event_id(self) -> str:
        return self.row.split(b"\t", 2)[1].decode()

    def has_number(self, seq: int, key: AuditKey) -> bool:
        """Tell whether it was signed under that number."""
        _, rest = self.row.split(b"\t", 1)
        return is_genuine(b"%d\t%s" % (seq, rest), self.code, key)


def diagnose(cursor: Any, seq: int, it: Checkpoint, keys: AuditKeys, *, is_kept: bool) -> Finding:
    """``it`` signs the number; ``is_kept``: its rows should be there."""
    key = keys.named(it.key_id)
    lines = lines_at(cursor, seq)
    if not lines:
        return _missing(cursor, seq, it)
    doubtful = [line for line in lines if not line.has_number(seq, key)] or lines
    bad = doubtful[0]
    if len(lines) > 1 or not is_kept:
        return Finding(INSERTED, seq, bad.event_id, it.id)
    if bad.has_number(seq, key):
        # A good row, but not of the month that its checkpoint signs.
        return Finding(EXCHANGED, seq, bad.event_id, it.id)
    was_seq = _own_number(bad, _around(seq, _last_seq(cursor)), keys)
    problem = EDITED if was_seq is None else REORDERED
    return Finding(problem, seq, bad.event_id, it.id, was_seq=was_seq)


def stray_row(cursor: Any, first_seq: int, last_seq: int, keys: AuditKeys) -> Finding | None:
    """Return what is wrong with the first row where none should be, after the last checkpoint or
    before the first."""
    cursor.execute(FIRST_ROW, (first_seq, last_seq))
    row = cursor.fetchone()
    if row is None:
        return None
    seq, event_id = row
    is_ours = any(line.has_number(seq, key) for line in lines_at(cursor, seq) for key in keys.every)
    return Finding(CHECKPOINT_REMOVED if is_ours else INSERTED, seq, event_id)


def event_at(cursor: Any, seq: int) -> str | None:
    cursor.execute(FIRST_ROW, (seq, seq))
    row = cursor.fetchone()
    return row[1] if row else None


def _missing(cursor: Any, seq: int, it: Checkpoint) -> Finding:
    cursor.execute(NEXT_ROW, (seq,))
    (following,) = cursor.fetchone()
    if following is not None:
        return Finding(REMOVED, seq, checkpoint=it.id, missing=following - seq)
    return Finding(TAIL_CUT, seq, checkpoint=it.id, missing=_last_seq(cursor) - seq + 1)


def _last_seq(cursor: Any) -> int:
    cursor.execute(LAST_SEQ)
    return int(cursor.fetchone()[0])


def _own_number(line: Line, numbers: Iterator[int], keys: AuditKeys) -> int | None:
    """Return the number under which a row was signed."""
    for number in numbers:
        if any(line.has_number(number, key) for key in keys.every):
            return number
    return None


def _around(seq: int, last: int) -> Iterator[int]:
    """Yield the numbers beside ``seq``, the nearest first."""
    for distance in range(1, min(REACH, max(seq, last - seq) + 1)):
        if seq + distance <= last:
            yield seq + distance
        if distance < seq:
            yield seq - distance


def lines_at(cursor: Any, seq: int) -> list[Line]:
    kept = _Kept()
    cursor.copy_expert(copy_lines(seq, seq), kept)
    return [Line(*split(line)) for line in kept.lines]


class _Kept:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)
