"""A thread that brings what is in a spool into Postgres: the trail's events, and others."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from app.audit.anchor import anchor_of, keep_anchor
from app.audit.chain import Checkpoint
from app.audit.event import AuditEvent, from_line
from app.audit.spool import Spool
from app.audit.store import UnstorableEventError
from app.utils.exceptions import DatabaseUnavailableError

logger = logging.getLogger("audit")

# What gathers for so long is one transaction and one checkpoint.
GATHER_S = 0.5
# How often the spool is made to survive the machine, and others' are looked for.
TEND_S = 2.0
LONGEST_PAUSE_S = 5.0
# Lines that are no events, and events that no database takes, are kept here for a person to see.
ASIDE = "set-aside.jsonl"

Append = Callable[[Sequence[AuditEvent]], list[Checkpoint]]
Entry = TypeVar("Entry")


class Shipper(Generic[Entry]):
    """Started and stopped with its process; for any spool whose entries Postgres takes again and
    again without harm."""

    def __init__(
        self,
        name: str,
        spool: Spool,
        folder: Path,
        read: Callable[[bytes], Entry],
        store: Callable[[Sequence[Entry]], None],
    ) -> None:
        """``name`` begins what is logged; ``folder`` is where is kept what had to be set aside.

        ``read`` raises ValueError for a line that is no entry; ``store`` raises
        DatabaseUnavailableError, and UnstorableEventError where one of them will never fit.
        """
        self._name = name
        self._spool = spool
        self._folder = folder
        self._read = read
        self._store = store
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.is_behind = False
        # Told from time to time what waits on disk.
        self.on_waiting: Callable[[int], None] = lambda _waiting_bytes: None

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def stop(self, patience_s: float) -> None:
        """Ship what is left, as far as Postgres lets; the rest waits for the next process."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(patience_s)
            self._thread = None

    def _work(self) -> None:
        pause_s, tended_s = GATHER_S, TEND_S
        while True:
            is_last = self._stopping.wait(pause_s)
            tended_s += pause_s
            is_due = tended_s >= TEND_S
            if is_due:
                tended_s = 0.0
                self._tend()
            pause_s = GATHER_S if self._try(is_due=is_due) else min(pause_s * 2, LONGEST_PAUSE_S)
            if is_last:
                return

    def _tend(self) -> None:
        with contextlib.suppress(OSError):
            self._spool.sync()
        self.on_waiting(self._spool.waiting_bytes)
        if found := self._spool.take_over():
            logger.warning("%s_spool_taken_over", self._name, extra={"files": found})

    def _try(self, *, is_due: bool) -> bool:
        """Ship all there is, and what follows from it; tell whether Postgres took it."""
        try:
            has_shipped = self._ship()
            if has_shipped or is_due:
                self._follow_up()
        except DatabaseUnavailableError:
            self._note(is_behind=True)
            return False
        except Exception:
            # Nothing may end this thread but its process.
            logger.exception("%s_shipping_failed", self._name)
            return False
        self._note(is_behind=False)
        return True

    def _follow_up(self) -> None:
        """Do what is to be done when something was shipped, and every other second anyway."""

    def _ship(self) -> bool:
        """Tell whether there was anything to ship."""
        has_shipped = False
        for segment in self._spool.segments():
            while lines := segment.read():
                self._send(lines)
                segment.shipped += sum(map(len, lines))
                has_shipped = True
            self._spool.forget(segment)
        return has_shipped

    def _send(self, lines: Sequence[bytes]) -> None:
        read = [(line, entry) for line in lines if (entry := self._entry(line)) is not None]
        for line in self._stored(read):
            self._set_aside(line, "unstorable")

    def _stored(self, read: Sequence[tuple[bytes, Entry]]) -> list[bytes]:
        """Store the entries, and return the lines of those that no database takes."""
        if not read:
            return []
        try:
            self._store([entry for _, entry in read])
        except UnstorableEventError:
            if len(read) == 1:
                return [read[0][0]]
            middle = len(read) // 2
            return self._stored(read[:middle]) + self._stored(read[middle:])
        return []

    def _entry(self, line: bytes) -> Entry | None:
        try:
            return self._read(line)
        except ValueError:
            self._set_aside(line, "unreadable")
            return None

    def _set_aside(self, line: bytes, reason: str) -> None:
        extra = {"reason": reason, "file": ASIDE}
        logger.critical("%s_event_set_aside", self._name, extra=extra)
        with (self._folder / ASIDE).open("ab") as aside:
            aside.write(line)

    def _note(self, *, is_behind: bool) -> None:
        if is_behind and not self.is_behind:
            logger.warning("%s_waits_for_database", self._name)
        self.is_behind = is_behind


class AuditShipper(Shipper[AuditEvent]):
    """Brings the trail's events into Postgres, and this machine's anchor up to date."""

    def __init__(self, spool: Spool, append: Append, folder: Path) -> None:
        """``folder`` is where the anchor is, and what had to be set aside."""

        def store(events: Sequence[AuditEvent]) -> None:
            self._signed(append(events))

        super().__init__("audit", spool, folder, from_line, store)

    def _signed(self, checkpoints: Sequence[Checkpoint]) -> None:
        for it in checkpoints:
            # Whoever collects logs elsewhere has an anchor that nobody with the database can cut.
            logger.info("audit_checkpoint", extra={"checkpoint": anchor_of(it)})
        if checkpoints:
            keep_anchor(self._folder, checkpoints[-1])
