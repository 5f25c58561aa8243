"""Rows as Postgres sends them, held against the checkpoints that signed them."""

from __future__ import annotations

from collections.abc import Iterable

from app.audit.chain import AuditKey, AuditKeys, Checkpoint, merkle_root
from app.audit.rows import COLUMNS

_COPY = "COPY (SELECT {columns}, code FROM audit_events WHERE seq BETWEEN {{first}} AND {{last}}"
LINES = _COPY.format(columns=", ".join(COLUMNS)) + " ORDER BY seq) TO STDOUT"

# Before the code's digits: the form's escape of the backslash that begins a bytea.
BYTEA = b"\\\\x"
# Where the month is, behind the number: after the event's id, its tab and another.
MONTH = slice(37, 44)


def copy_lines(first_seq: int, last_seq: int) -> str:
    # COPY takes no parameters; these are numbers.
    return LINES.format(first=int(first_seq), last=int(last_seq))


def split(line: bytes) -> tuple[bytes, bytes]:
    """Return what was signed, and the code's digits."""
    end = line.rfind(b"\t")
    return line[:end], line[end + 1 + len(BYTEA) : -1]


def is_genuine(row: bytes, code: bytes, key: AuditKey) -> bool:
    # Nobody measures how long a comparison takes here: the codes are in the table.
    return key.row_code(row).hex().encode() == code


class RowCheck:
    """What `COPY` writes to: goes along checkpoints whose rows must be there, in order, and
    stops looking at the first that is not. Postgres sends one row at a time."""

    def __init__(self, checkpoints: Iterable[Checkpoint], keys: AuditKeys) -> None:
        self._ahead = iter(checkpoints)
        self._keys = keys
        self._batch: list[bytes] = []
        self._checkpoint: Checkpoint | None = None
        self.rows = 0
        # The first number where the trail is not as it was signed.
        self.bad_seq: int | None = None
        # Good rows, but not those that were signed together.
        self.exchanged: Checkpoint | None = None
        self._go_on()

    @property
    def is_good(self) -> bool:
        return self.bad_seq is None and self.exchanged is None

    def write(self, line: bytes) -> None:
        # An exception here would leave the connection in the middle of the copy.
        if not self.is_good:
            return
        row, code = split(line)
        prefix = b"%d\t" % self._seq
        if (
            self._checkpoint is None
            or not row.startswith(prefix)
            or row[len(prefix) :][MONTH] != self._month
            or not is_genuine(row, code, self._key)
        ):
            self._stop(row)
            return
        self._batch.append(row)
        self._seq += 1
        if self._seq > self._checkpoint.last_seq:
            self._close(self._checkpoint)

    def finish(self) -> None:
        """Say that no row follows."""
        if self.is_good and self._checkpoint is not None:
            self.bad_seq = self._seq

    def _close(self, it: Checkpoint) -> None:
        if merkle_root(self._batch) != it.merkle_root:
            self.exchanged = it
            return
        self.rows += len(self._batch)
        self._go_on()

    def _go_on(self) -> None:
        """Expect the next checkpoint's first row, or none."""
        self._batch = []
        self._checkpoint = it = next(self._ahead, None)
        if it is not None:
            self._seq = it.first_seq
            self._month = it.month[:7].encode()
            self._key = self._keys.named(it.key_id)

    def _stop(self, row: bytes) -> None:
        seq = int(row[: row.index(b"\t")])
        self.bad_seq = seq if self._checkpoint is None else min(seq, self._seq)
