"""Events on disk before they are in Postgres: files of lines, each of one process.

A file is locked by the process that writes it, so that one that can be locked has lost its writer
and may be taken over. A line is written whole or not at all; it survives its process at once, and
the machine from the next sync on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.utils.exceptions import SpoolUnavailableError

SEGMENT_BYTES = 8 * 1024 * 1024
SUFFIX = ".events"
READ_BYTES = 1024 * 1024


class Segment:
    """One file that is locked by us. Not for two threads at once but where said."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        # So far everything is in Postgres.
        self.shipped = 0

    @classmethod
    def create(cls, path: Path) -> Segment:
        """Raises: OSError."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, descriptor)

    @classmethod
    def take_over(cls, path: Path) -> Segment | None:
        """Return the file of a process that is gone; None where it lives, or another was first."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been emptied and removed between the opening and the lock.
            if os.fstat(descriptor).st_nlink:
                segment = cls(path, descriptor)
                segment.size = _whole_lines_bytes(descriptor)
                return segment
        except BlockingIOError:
            pass
        os.close(descriptor)
        return None

    def append(self, line: bytes) -> None:
        """Write a line whole, or leave the file as it was. Raises: OSError."""
        written = os.write(self._descriptor, line)
        if written != len(line):
            os.ftruncate(self._descriptor, self.size)
            raise OSError("the disk had no room for a whole line")
        self.size += written

    def read(self, at_most_bytes: int = READ_BYTES) -> list[bytes]:
        """Return whole lines that are not shipped yet; an unfinished one is nobody's."""
        left = min(at_most_bytes, self.size - self.shipped)
        chunk = os.pread(self._descriptor, left, self.shipped)
        end = chunk.rfind(b"\n") + 1
        return chunk[:end].splitlines(keepends=True)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def empty(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self.size = self.shipped = 0

    def remove(self) -> None:
        """Delete the file and let it go."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        os.close(self._descriptor)

    def close(self) -> None:
        """Let the file go: whoever comes takes it over."""
        os.close(self._descriptor)


class Spool:
    """This process's files, and those of processes that are gone. `append` may be called on the
    event loop while another thread ships; `append_durably` and `sync` are for threads."""

    def __init__(self, folder: Path, max_bytes: int, name: str) -> None:
        """``name`` is of this process alone. Nothing is touched before `open`."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._name = name
        self._next = 0
        self._lock = threading.Lock()
        # Held while files are synced: none may be closed then. Taken before the other one.
        self._syncing = threading.Lock()
        # The last one is written to.
        self._segments: list[Segment] = []
        self._others_bytes = 0
        # Files whose names are known to survive the machine.
        self._named: set[Path] = set()

    @property
    def waiting_bytes(self) -> int:
        """What is not in Postgres yet, of this process and of those it has taken over."""
        with self._lock:
            return sum(it.size - it.shipped for it in self._segments)

    def append(self, line: bytes) -> None:
        """Raises: SpoolUnavailableError, when the disk or our share of it is full."""
        try:
            with self._lock:
                self._writable(len(line)).append(line)
        except OSError as fault:
            raise SpoolUnavailableError(fault) from fault

    def append_durably(self, blocks: Sequence[bytes]) -> list[SpoolUnavailableError | None]:
        """Append whole lines, each block of them all or not at all, so that they survive the
        machine; return what became of each block."""
        written: dict[Path, Segment] = {}
        outcomes: list[SpoolUnavailableError | None] = []
        with self._syncing:
            for block in blocks:
                try:
                    with self._lock:
                        segment = self._writable(len(block))
                        segment.append(block)
                except OSError as fault:
                    outcomes.append(SpoolUnavailableError(fault))
                else:
                    written[segment.path] = segment
                    outcomes.append(None)
            try:
                for segment in written.values():
                    segment.sync()
                self._sync_folder(written)
            except OSError as fault:
                # Perhaps they will be there, perhaps not: whoever sent them sends them again.
                return [SpoolUnavailableError(fault)] * len(blocks)
        return outcomes

    def segments(self) -> list[Segment]:
        """Return all that may hold something to ship, oldest first."""
        with self._lock:
            return list(self._segments)

    def take_over(self) -> int:
        """Adopt what processes that are gone have left; return how many files."""
        with self._lock:
            mine = {it.path for it in self._segments}
            found = [
                segment
                for path in sorted(self._folder.glob(f"*{SUFFIX}"))
                if path not in mine and (segment := Segment.take_over(path))
            ]
            self._segments[:0] = found
            self._count_others()
        return len(found)

    def forget(self, segment: Segment) -> None:
        """Remove a file of which everything is shipped; the one that is written to is emptied."""
        with self._syncing, self._lock:
            if segment.shipped != segment.size:
                return
            if segment is self._current():
                segment.empty()
            else:
                self._segments.remove(segment)
                segment.remove()
                self._count_others()

    def sync(self) -> None:
        """Make what was written survive the machine. Raises: OSError."""
        with self._syncing:
            for segment in self.segments():
                segment.sync()

    def close(self) -> None:
        with self._syncing, self._lock:
            for segment in self._segments:
                if segment.shipped == segment.size:
                    segment.remove()
                else:
                    segment.close()
            self._segments = []

    def _sync_folder(self, written: Mapping[Path, Segment]) -> None:
        """Make the names of new files survive, too."""
        new = written.keys() - self._named
        if new:
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._named |= new

    def _current(self) -> Segment | None:
        last = self._segments[-1] if self._segments else None
        return last if last is not None and self._is_mine(last) else None

    def _is_mine(self, segment: Segment) -> bool:
        return segment.path.name.startswith(f"{self._name}.")

    def _writable(self, size: int) -> Segment:
        """Return the file to write to, a new one where there is none or the last is full."""
        current = self._current()
        if self._others_bytes + (current.size if current else 0) + size > self._max_bytes:
            raise OSError("the spool has reached its size")
        if current is None or current.size + size > SEGMENT_BYTES:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            current = Segment.create(self._folder / f"{self._name}.{self._next:06d}{SUFFIX}")
            self._next += 1
            self._segments.append(current)
            self._count_others()
        return current

    def _count_others(self) -> None:
        """Remember what is in files that nothing is added to."""
        current = self._current()
        self._others_bytes = sum(it.size for it in self._segments if it is not current)


def _whole_lines_bytes(descriptor: int) -> int:
    """Return the size without a last line that its writer did not live to finish."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - READ_BYTES)
        if newline := os.pread(descriptor, end - start, start).rfind(b"\n") + 1:
            return start + newline
        end = start
    return 0
