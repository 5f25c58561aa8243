"""Child processes that never outlive this one."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
# Looked up before any fork: between fork and exec nothing may be loaded. Linux only.
_prctl: Any = getattr(ctypes.CDLL(None), "prctl", None)
POLL_S = 0.05


class ChildDiedError(RuntimeError):
    """A process that should run has ended; ``tail`` is the end of its log."""

    def __init__(self, name: str, code: int, tail: str) -> None:
        self.name, self.code, self.tail = name, code, tail
        super().__init__(f"{name} ended with exit code {code}")


class Child:
    """One process, its output in a log file, ended with its whole session."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log_path: Path,
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        self.name = name
        self.log_path = log_path
        with log_path.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C reaches only us, and we end the children in order.
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                [str(part) for part in command],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent if _prctl else None,  # noqa: PLW1509  # one system call
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def require_alive(self) -> None:
        """Raises: ChildDiedError."""
        code = self._process.poll()
        if code is not None:
            raise ChildDiedError(self.name, code, self.log_tail())

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines that this run has logged."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def stop(self, grace_s: float) -> None:
        """TERM, then, after ``grace_s``, KILL to whatever is left of its session."""
        self._signal(signal.SIGTERM)
        deadline_s = time.monotonic() + grace_s
        while self._process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


def _die_with_parent() -> None:
    """Have the kernel send TERM to the child when we are killed without a chance to do it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
