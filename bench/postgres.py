"""`python -m bench.postgres FOLDER`: a Postgres for as long as this process lives.

Postgres runs as a daemon. A process of its own looks after it, which the kernel ends with the
benchmark, even when that is killed with -9.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from app.embedded.engines import EmbeddedPostgres

URL_FILE = "postgres.url"


def main() -> None:
    folder = Path(sys.argv[1])
    stopping = threading.Event()
    # A TERM while Postgres starts is obeyed when it can be stopped.
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        # Whoever sees the file sees all of it.
        unfinished = folder / "postgres.url.unfinished"
        unfinished.write_text(postgres.url)
        unfinished.rename(folder / URL_FILE)
        stopping.wait()
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()
