"""Where workers keep their counts, each in files of its own that outlive it.

In memory, on Linux: the files are mapped, and whoever writes to a mapped page that a full disk has
no block for is killed. A full disk must not stop calls, least of all for being counted.

For gunicorn's master: prometheus-client is imported by none of this, since it looks for the folder
(`PROMETHEUS_MULTIPROC_DIR`) when it is.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import sha256
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
BASELINE = "baseline.json"
IN_MEMORY = Path("/dev/shm")  # noqa: S108  # ours alone: see `_is_ours`
PRIVATE = 0o700


def make_folder(state_dir: Path) -> Path:
    """Return the folder for the workers of a server, made where there is none."""
    name = sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]
    folder = IN_MEMORY / f"ia-solaris-{os.getuid()}-{name}"
    if not _made(folder):
        folder = state_dir / "metrics"
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def clear(folder: Path) -> None:
    """Take away what processes left that are gone: what was counted begins anew with a new master,
    not with a new worker."""
    for path in folder.glob("*.db"):
        if not _is_alive(path):
            path.unlink(missing_ok=True)
    if not any(folder.glob("*.db")):
        (folder / BASELINE).unlink(missing_ok=True)


def leave(folder: Path) -> None:
    """The server has ended, and with it what it counted; another that took its place keeps its."""
    clear(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _made(folder: Path) -> bool:
    """Make a folder in memory; tell whether it is ours alone."""
    try:
        folder.mkdir(PRIVATE, exist_ok=True)
        stat = folder.lstat()
    except OSError:
        return False
    return folder.is_dir() and not folder.is_symlink() and stat.st_uid == os.getuid()


def forget_gauges(folder: Path, pid: int) -> None:
    """Take away what a worker that is gone said of itself; what it counted stays."""
    for path in folder.glob(f"gauge_live*_{pid}.db"):
        path.unlink(missing_ok=True)


def _is_alive(path: Path) -> bool:
    pid = path.stem.rpartition("_")[2]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
