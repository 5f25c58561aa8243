"""One thread that brings the spool's events into Postgres, and this machine's anchor up to date."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

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


class AuditShipper:
    """Started and stopped with its process."""

    def __init__(self, spool: Spool, append: Append, folder: Path) -> None:
        """``folder`` is where the anchor is, and what had to be set aside."""
        self._spool = spool
        self._append = append
        self._folder = folder
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.is_behind = False

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
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
            if tended_s >= TEND_S:
                tended_s = 0.0
                self._tend()
            pause_s = GATHER_S if self._ship() else min(pause_s * 2, LONGEST_PAUSE_S)
            if is_last:
                return

    def _tend(self) -> None:
        with contextlib.suppress(OSError):
            self._spool.sync()
        if found := self._spool.take_over():
            logger.warning("audit_spool_taken_over", extra={"files": found})

    def _ship(self) -> bool:
        """Ship all there is; tell whether Postgres took it."""
        try:
            for segment in self._spool.segments():
                while lines := segment.read():
                    self._send(lines)
                    segment.shipped += sum(map(len, lines))
                self._spool.forget(segment)
        except DatabaseUnavailableError:
            self._note(is_behind=True)
            return False
        except Exception:
            # Nothing may end this thread but its process.
            logger.exception("audit_shipping_failed")
            return False
        self._note(is_behind=False)
        return True

    def _send(self, lines: Sequence[bytes]) -> None:
        events = [event for line in lines if (event := self._event(line)) is not None]
        for event in self._stored(events):
            self._set_aside(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE), "unstorable")

    def _stored(self, events: Sequence[AuditEvent]) -> list[AuditEvent]:
        """Store the events, and return those that no database takes."""
        if not events:
            return []
        try:
            self._signed(self._append(events))
        except UnstorableEventError:
            if len(events) == 1:
                return list(events)
            middle = len(events) // 2
            return self._stored(events[:middle]) + self._stored(events[middle:])
        return []

    def _event(self, line: bytes) -> AuditEvent | None:
        try:
            return from_line(line)
        except ValueError:
            self._set_aside(line, "unreadable")
            return None

    def _set_aside(self, line: bytes, reason: str) -> None:
        logger.critical("audit_event_set_aside", extra={"reason": reason, "file": ASIDE})
        with (self._folder / ASIDE).open("ab") as aside:
            aside.write(line)

    def _signed(self, checkpoints: Sequence[Checkpoint]) -> None:
        for it in checkpoints:
            # Whoever collects logs elsewhere has an anchor that nobody with the database can cut.
            logger.info("audit_checkpoint", extra={"checkpoint": anchor_of(it)})
        if checkpoints:
            keep_anchor(self._folder, checkpoints[-1])

    def _note(self, *, is_behind: bool) -> None:
        if is_behind and not self.is_behind:
            logger.warning("audit_waits_for_database")
        self.is_behind = is_behind
