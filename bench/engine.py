"""`python -m bench.engine postgres|valkey FOLDER`: a database for as long as this process lives.

They run as daemons. A process of its own looks after each, which the kernel ends with the
benchmark, even when that is killed with -9.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from app.embedded.engines import EmbeddedPostgres, EmbeddedValkey
from app.embedded.processes import Child
from bench.contenders.base import Workplace, run_process, wait_until
from bench.machine import on_core

URL_FILE = "url"
ENGINES: dict[str, Callable[[Path], EmbeddedPostgres | EmbeddedValkey]] = {
    "postgres": EmbeddedPostgres,
    "valkey": EmbeddedValkey,
}


def start_engine(kind: str, folder: Path, place: Workplace) -> tuple[Child, str]:
    """Start a database with its data in ``folder``; return its keeper, and its address."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "bench.engine", kind, str(folder)]
    # A database has a machine of its own in production: it stays off the server's core.
    with on_core(place.cores.load):
        keeper = run_process(kind, command, folder, {})
    url_file = folder / URL_FILE
    wait_until(keeper, url_file.exists)
    return keeper, url_file.read_text()


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    stopping = threading.Event()
    # A TERM while it starts is obeyed when it can be stopped.
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    engine = ENGINES[kind](folder / kind)
    try:
        # Whoever sees the file sees all of it.
        unfinished = folder / "url.unfinished"
        unfinished.write_text(engine.url)
        unfinished.rename(folder / URL_FILE)
        stopping.wait()
    finally:
        engine.stop()


if __name__ == "__main__":
    main()
