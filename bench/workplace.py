"""What every run needs before it measures: room for connections, the mock upstream, a way out."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from app.embedded.network import free_port
from bench.contenders.base import STOP_GRACE_S, Workplace, answers, run_process, wait_until
from bench.machine import Cores

# The exit code of a run that was interrupted.
INTERRUPTED = 130


def open_workplace(cores: Cores, cleanup: ExitStack) -> Workplace:
    """Start the mock upstream in a folder of its own; ``cleanup`` ends both. Raises: StartError."""
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="solaris-bench-")))
    place = Workplace(folder, free_port(), cores)
    command = [sys.executable, "-m", "bench.upstream", str(place.upstream_port)]
    upstream = run_process("upstream", command, folder, {})
    cleanup.callback(upstream.stop, STOP_GRACE_S)
    wait_until(upstream, lambda: answers(place.upstream_url))
    return place


def take_signals_as_interrupt() -> None:
    """Take TERM as Ctrl-C: one way out, on which everything is stopped. A shell has whatever it
    runs in the background ignore interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def ignore_further_interrupts() -> None:
    """A second Ctrl-C must not stop the stopping."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def allow_many_connections() -> None:
    """A thousand streams are two thousand sockets in a proxy, which inherits our limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
