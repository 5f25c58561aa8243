"""A real Postgres that a test stops at once, starts again, and freezes."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from app.embedded.engines import EmbeddedPostgres

START_TIMEOUT_S = 30.0


class FragilePostgres:
    """Keeps its data and its address over all of it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._server = EmbeddedPostgres(data_dir)
        self.url = self._server.url
        self._command = shlex.split((data_dir / "postmaster.opts").read_text())
        self._user = self._process.username()
        self._log = data_dir / "again.log"
        # The ones that were started here, which must be waited for.
        self._again: list[subprocess.Popen[bytes]] = []

    @property
    def _process(self) -> psutil.Process:
        return psutil.Process(int((self._data_dir / "postmaster.pid").read_text().split()[0]))

    def stop_at_once(self) -> None:
        """As `pg_ctl stop -m immediate`: nothing is finished, what was committed is recovered."""
        # All of it: the memory that they share must be nobody's before it can start again.
        processes = [self._process, *self._process.children()]
        processes[0].send_signal(signal.SIGQUIT)
        _, alive = psutil.wait_procs(processes, START_TIMEOUT_S)
        assert not alive, "Postgres did not stop"

    def start_again(self) -> None:
        self._start()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            assert time.monotonic() < deadline_s, self._log.read_text()[-2000:]
            time.sleep(0.05)
            if self._again[-1].poll() is not None:
                # A process of the one before was still at its memory.
                self._start()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._again.append(
                subprocess.Popen(
                    self._command,
                    user=self._user,
                    cwd=self._data_dir,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it answer nobody, with every connection open and new ones accepted."""
        processes = [self._process, *self._process.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in reversed(processes):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def end(self) -> None:
        # The library stops only what it started itself.
        for started in self._again:
            if started.poll() is None:
                started.send_signal(signal.SIGINT)
            started.wait(START_TIMEOUT_S)
        self._server.stop()

    def _is_ready(self) -> bool:
        with contextlib.suppress(FileNotFoundError, IndexError):
            lines = (self._data_dir / "postmaster.pid").read_text().splitlines()
            # The file of the one before is still there for a while.
            return lines[0] == str(self._again[-1].pid) and lines[7].strip() == "ready"
        return False
