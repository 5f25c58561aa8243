"""Reads the trail from its first checkpoint to its last, and names the first row that is wrong.

Only reads, and holds one batch of rows at a time. What is found wrong is looked at more closely
in `diagnosis`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from app.audit.chain import GENESIS, AuditKeys, Checkpoint, UnknownAuditKeyError
from app.audit.diagnosis import diagnose, event_at, stray_row
from app.audit.drops import Drop, read_drops
from app.audit.findings import (
    CHECKPOINT_EDITED,
    CHECKPOINT_REMOVED,
    DROP_EDITED,
    EXCHANGED,
    TAIL_CUT,
    UNKNOWN_KEY,
    Finding,
    Report,
    first_of,
)
from app.audit.name_check import check_names
from app.audit.row_check import RowCheck, copy_lines
from app.audit.store import CHECKPOINTS, RETRY_AFTER_S, checkpoint_of
from app.utils.exceptions import DatabaseUnavailableError

# So many rows are asked for at once; Postgres sorts them.
CHUNK_ROWS = 200_000
CHUNK_CHECKPOINTS = 2_000
# A machine's clock may be ahead of Postgres's by this much, and ``since`` still means its rows.
CLOCKS_APART = timedelta(days=1)
# Is told how many rows were found good so far.
Progress = Callable[[int], None]
LOWEST, HIGHEST = -(2**63), 2**63 - 1

SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# Rows as they were signed, whatever the database's own settings are.
SAME_FORM = """
    SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL bytea_output = 'hex';
    SET LOCAL client_encoding = 'UTF8'
"""
CHECKPOINTS_AFTER = CHECKPOINTS + "WHERE id > %s ORDER BY id LIMIT %s"
ONE_CHECKPOINT = CHECKPOINTS + "WHERE id = %s"
LAST_BEFORE = """
    SELECT coalesce(min(id) - 1, (SELECT max(id) FROM audit_checkpoints), 0)
    FROM audit_checkpoints WHERE created_at >= %(signed)s
      OR last_seq >= (SELECT min(seq) FROM audit_events WHERE at >= %(since)s)
"""
FIRST_OF_MONTH = "SELECT min(first_seq) FROM audit_checkpoints WHERE month = %s"


def verify_trail(
    engine: Engine,
    keys: AuditKeys,
    *,
    since: datetime | None = None,
    anchor: dict[str, Any] | None = None,
    progress: Progress = lambda _rows: None,
) -> Report:
    """Verify in one snapshot, while others go on writing. Raises: DatabaseUnavailableError."""
    try:
        connection: Any = engine.raw_connection()
        try:
            with connection.cursor() as cursor:
                cursor.execute(SNAPSHOT)
            return verify(connection, keys, since=since, anchor=anchor, progress=progress)
        finally:
            connection.close()
    except (psycopg2.Error, DBAPIError) as fault:
        raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault


def verify(
    connection: Any,
    keys: AuditKeys,
    *,
    since: datetime | None = None,
    anchor: dict[str, Any] | None = None,
    progress: Progress = lambda _rows: None,
) -> Report:
    """Verify what the connection's transaction sees; changes that transaction's settings.

    ``since``: begin with the checkpoint of the first row of that time; ``anchor``: what
    `keep_anchor` wrote.
    """
    with connection.cursor() as cursor:
        cursor.execute(SAME_FORM)
        return _Verification(cursor, keys, progress).run(since, anchor)


class _Verification:
    """One run along the trail."""

    def __init__(self, cursor: Any, keys: AuditKeys, progress: Progress) -> None:
        self._cursor = cursor
        self._keys = keys
        self._progress = progress
        self._drops: list[Drop] = []
        # The last checkpoint that was found genuine.
        self._last = GENESIS
        self._since: datetime | None = None
        self._checkpoints = self._rows = self._dropped_rows = 0

    def run(self, since: datetime | None, anchor: dict[str, Any] | None) -> Report:
        dropped = self._read_drops()
        trail = self._check_trail(since)
        names, name = check_names(self._cursor, self._keys, self._last.last_name)
        if not trail and not name and names > self._last.last_name:
            # A name comes with a row, and with the checkpoint that signs it.
            name = Finding(TAIL_CUT, self._last.last_seq + 1, name=self._last.last_name + 1)
        return Report(
            self._rows,
            self._checkpoints,
            names,
            self._dropped_rows,
            self._since,
            first_of([trail, dropped, name, self._check_anchor(anchor)]),
        )

    def _read_drops(self) -> Finding | None:
        """Remember what retention dropped; return the first record that it did not write."""
        finding = None
        for drop in read_drops(self._cursor):
            if drop.is_genuine(self._keys) and drop.was_due:
                self._drops.append(drop)
            elif finding is None:
                self._cursor.execute(FIRST_OF_MONTH, (drop.month,))
                finding = Finding(DROP_EDITED, *self._cursor.fetchone())
        return finding

    def _check_trail(self, since: datetime | None) -> Finding | None:
        if since is not None:
            self._begin(since)
        return (
            stray_row(self._cursor, LOWEST, 0, self._keys)
            or self._check_checkpoints()
            or stray_row(self._cursor, self._last.last_seq + 1, HIGHEST, self._keys)
        )

    def _begin(self, since: datetime) -> None:
        """Stand on the checkpoint before the first that is asked for, if it can be trusted."""
        self._cursor.execute(LAST_BEFORE, {"signed": since - CLOCKS_APART, "since": since})
        (number,) = self._cursor.fetchone()
        before = self._checkpoint(number)
        if before is not None and self._is_genuine(before):
            self._last = before

    def _check_checkpoints(self) -> Finding | None:
        while chunk := self._chunk():
            genuine, doubt = self._genuine(chunk)
            if finding := self._check_rows(genuine) or doubt:
                return finding
            self._progress(self._rows)
        return None

    def _chunk(self) -> list[Checkpoint]:
        """Return the next checkpoints, with as many rows as are read at once."""
        after = self._last.id if self._last is not GENESIS else LOWEST
        self._cursor.execute(CHECKPOINTS_AFTER, (after, CHUNK_CHECKPOINTS))
        chunk: list[Checkpoint] = []
        for it in map(checkpoint_of, self._cursor.fetchall()):
            chunk.append(it)
            if it.last_seq - chunk[0].first_seq >= CHUNK_ROWS:
                break
        return chunk

    def _genuine(self, chunk: Sequence[Checkpoint]) -> tuple[list[Checkpoint], Finding | None]:
        """Return the checkpoints before the first that is not, and what is wrong with that."""
        for index, it in enumerate(chunk):
            if finding := self._doubt(it):
                return list(chunk[:index]), finding
            self._last = it
        return list(chunk), None

    def _doubt(self, it: Checkpoint) -> Finding | None:
        """Say what is wrong with the checkpoint that follows the last genuine one."""
        last = self._last
        if it.id > last.id + 1:
            return self._on_next_row(CHECKPOINT_REMOVED, last.id + 1)
        try:
            is_genuine = it.is_genuine(self._keys)
        except UnknownAuditKeyError:
            return self._on_next_row(UNKNOWN_KEY, it.id, it.key_id)
        follows = (it.id, it.first_seq, it.previous_hash) == (
            last.id + 1,
            last.last_seq + 1,
            last.hash,
        )
        return None if is_genuine and follows else self._on_next_row(CHECKPOINT_EDITED, it.id)

    def _on_next_row(self, problem: str, checkpoint: int, key_id: str | None = None) -> Finding:
        seq = self._last.last_seq + 1
        return Finding(problem, seq, event_at(self._cursor, seq), checkpoint, key_id=key_id)

    def _check_rows(self, checkpoints: Sequence[Checkpoint]) -> Finding | None:
        if not checkpoints:
            return None
        kept = [it for it in checkpoints if not self._is_dropped(it)]
        check = RowCheck(kept, self._keys)
        copy = copy_lines(checkpoints[0].first_seq, checkpoints[-1].last_seq)
        self._cursor.copy_expert(copy, check)
        check.finish()
        self._count(checkpoints, kept, check.rows)
        if check.exchanged is not None:
            it = check.exchanged
            return Finding(EXCHANGED, it.first_seq, event_at(self._cursor, it.first_seq), it.id)
        return None if check.bad_seq is None else self._diagnosis(checkpoints, check.bad_seq)

    def _diagnosis(self, checkpoints: Sequence[Checkpoint], seq: int) -> Finding:
        it = next(it for it in checkpoints if seq <= it.last_seq)
        is_kept = not self._is_dropped(it)
        return diagnose(self._cursor, seq, it, self._keys, is_kept=is_kept)

    def _count(
        self, checkpoints: Sequence[Checkpoint], kept: Sequence[Checkpoint], rows: int
    ) -> None:
        self._since = self._since or checkpoints[0].created_at
        self._checkpoints += len(checkpoints)
        self._rows += rows
        self._dropped_rows += sum(it.rows for it in checkpoints) - sum(it.rows for it in kept)

    def _is_dropped(self, it: Checkpoint) -> bool:
        return any(
            drop.month.isoformat() == it.month and it.id <= drop.last_checkpoint
            for drop in self._drops
        )

    def _check_anchor(self, anchor: dict[str, Any] | None) -> Finding | None:
        """Say whether the trail has ended before, or went on otherwise, since the anchor."""
        if anchor is None:
            return None
        it = self._checkpoint(anchor["id"])
        if it is not None and it.hash.hex() == anchor["hash"]:
            return None
        if it is None and anchor["id"] < self._last.id:
            return Finding(CHECKPOINT_REMOVED, anchor["last_seq"], checkpoint=anchor["id"])
        seq = self._last.last_seq + 1 if it is None else it.first_seq
        missing = anchor["last_seq"] - seq + 1
        return Finding(TAIL_CUT, seq, checkpoint=anchor["id"], missing=missing)

    def _checkpoint(self, number: int) -> Checkpoint | None:
        self._cursor.execute(ONE_CHECKPOINT, (number,))
        row = self._cursor.fetchone()
        return checkpoint_of(row) if row else None

    def _is_genuine(self, it: Checkpoint) -> bool:
        try:
            return it.is_genuine(self._keys)
        except UnknownAuditKeyError:
            return False
