"""What was granted from leases, on disk until it is in the ledger: a worker may die meanwhile.

One file a process, locked as long as it lives. A grant is on the disk itself before its call is
made; how it ended is written at once, and charged in full where that was lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from app.ledger.book import NOTHING, Post, Spend

SUFFIX = ".leases"


class LeaseJournal:
    """This process's file; and those of processes that are gone."""

    def __init__(self, folder: Path, name: str) -> None:
        """Nothing is touched before the first grant."""
        self._folder = folder
        self._path = folder / f"{name}{SUFFIX}"
        self._descriptor: int | None = None
        self._open: set[str] = set()
        self._leases: set[str] = set()
        # Nothing may be written between the look at what is open and the emptying.
        self._writing = threading.Lock()

    @property
    def leases(self) -> list[str]:
        with self._writing:
            return sorted(self._leases)

    def lease(self, leases: Iterable[str]) -> None:
        """Write what leases this process takes. Blocks. Raises: OSError."""
        with self._writing:
            for lease in set(leases) - self._leases:
                self._append({"leased": lease})
                self._leases.add(lease)

    def give_up(self, leases: Iterable[str]) -> None:
        """Take note that these leases are held no more. Blocks. Raises: OSError."""
        with self._writing:
            self._leases.difference_update(leases)
            self._tidy()

    def grant(self, post: Post) -> None:
        """Write what a call may take, and wait for the disk. Blocks. Raises: OSError."""
        with self._writing:
            self._append({"granted": _fields(post)})
            self._open.add(post.request_id)
            descriptor = self._opened()
        os.fdatasync(descriptor)

    def end(self, request_id: str, spend: Spend, *, is_estimated: bool) -> None:
        """Write what a call took; nothing, where it was given back. Raises: OSError."""
        entry = {"ended": request_id, "spend": _amounts(spend), "is_estimated": is_estimated}
        with self._writing:
            self._append(entry)

    def forget(self, request_id: str) -> None:
        """Take note that a call is in the ledger, or was not made. Raises: OSError."""
        with self._writing:
            self._open.discard(request_id)
            self._tidy()

    def close(self) -> None:
        """Let the file go; it stays while something in it is not in the ledger."""
        if self._descriptor is not None:
            if not self._open and not self._leases:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def take_over(self) -> list[LeftBehind]:
        """Return what processes that are gone had granted. Blocks."""
        found = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if path != self._path:
                with contextlib.suppress(FileNotFoundError, BlockingIOError):
                    found.append(LeftBehind(path, _locked(path)))
        return found

    def _tidy(self) -> None:
        """Keep what leases there are, once every call is in the ledger."""
        if not self._open and self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            for lease in self._leases:
                self._append({"leased": lease})

    def _append(self, entry: dict[str, Any]) -> None:
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        if os.write(self._opened(), line) != len(line):
            raise OSError("the disk had no room for a whole line")

    def _opened(self) -> int:
        if self._descriptor is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = _locked(self._path, os.O_CREAT)
        return self._descriptor


class LeftBehind:
    """The journal of a process that is gone; locked until it is let go."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        entries = _entries(path.read_bytes())
        self.posts = _posts(entries)
        self.leases = sorted({it["leased"] for it in entries if "leased" in it})

    def let_go(self, *, is_done: bool) -> None:
        """``is_done``: all of it is in the ledger."""
        if is_done:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _locked(path: Path, flags: int = 0) -> int:
    """Raises: FileNotFoundError; BlockingIOError, where its process lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def _entries(content: bytes) -> list[dict[str, Any]]:
    entries = []
    for line in content.splitlines():
        # A line that its process did not live to finish was waited for by nobody.
        with contextlib.suppress(orjson.JSONDecodeError):
            entries.append(orjson.loads(line))
    return entries


def _posts(entries: Iterable[dict[str, Any]]) -> list[Post]:
    """Return what is to be posted: the end of each call, or all that it was granted."""
    posts: dict[str, Post] = {}
    for entry in entries:
        _read(entry, posts)
    return [post for post in posts.values() if post.spend != NOTHING]


def _read(entry: dict[str, Any], posts: dict[str, Post]) -> None:
    if "granted" in entry:
        post = _post(entry["granted"])
        posts[post.request_id] = post
    elif known := posts.get(entry.get("ended", "")):
        spend, is_estimated = Spend(*entry["spend"]), entry["is_estimated"]
        posts[known.request_id] = replace(known, spend=spend, is_estimated=is_estimated)


def _fields(post: Post) -> dict[str, Any]:
    return {
        "request_id": post.request_id,
        "model": post.model,
        "charges": [[*key, metric, lease] for key, metric, lease in post.charges],
        "spend": _amounts(post.spend),
        "is_estimated": post.is_estimated,
        "at": post.at,
        "user_id": post.user_id,
        "team_id": post.team_id,
        "key_id": post.key_id,
    }


def _post(fields: dict[str, Any]) -> Post:
    charges = tuple(
        ((budget, subject, datetime.fromisoformat(start)), metric, lease)
        for budget, subject, start, metric, lease in fields.pop("charges")
    )
    at, spend = datetime.fromisoformat(fields.pop("at")), Spend(*fields.pop("spend"))
    return Post(charges=charges, at=at, spend=spend, **fields)


def _amounts(spend: Spend) -> list[int]:
    return [spend.tokens, spend.cost_micro_usd, spend.requests]
