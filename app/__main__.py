"""`solaris` and `python -m app`: the command line, quiet when it is interrupted while it loads."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    try:
        # Half a second of imports, in which Ctrl-C would show where each of them was.
        from app.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
