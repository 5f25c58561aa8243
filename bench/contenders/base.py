"""What every contender has in common: a process on the server's core, and a port."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.config.settings import PROJECT_ROOT
from app.embedded.network import free_port
from app.embedded.processes import Child
from bench.machine import Cores, CpuTimes, on_core

POLL_S = 0.05
START_TIMEOUT_S = 120.0
STOP_GRACE_S = 6.0
# Of our own environment only this reaches the servers: a run must not depend on a shell.
PASSED_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")


class StartError(RuntimeError):
    """A server did not come up; the message ends with what it logged."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where the servers of one run live, and whom they call."""

    folder: Path
    upstream_port: int
    cores: Cores

    @property
    def upstream_url(self) -> str:
        return f"http://127.0.0.1:{self.upstream_port}"


class Contender(ABC):
    """One server under test; stopped however the run ends."""

    # For the command line, and for the table.
    name: str
    title: str
    ready_path = "/livez"

    def __init__(self) -> None:
        self.port = 0
        self.headers: dict[str, str] = {}
        self._child: Child | None = None

    def missing(self) -> str | None:
        """Say what is not installed, or None."""
        return None

    def version(self) -> str:
        """Return its version where it is not a package of this environment."""
        return ""

    def start(self, place: Workplace) -> None:
        """Return when it answers. Raises: StartError."""
        self.port = free_port()
        self.prepare(place)
        with on_core(place.cores.server):
            self._child = run_process(
                self.title, self.command(place), place.folder, self.environment(place)
            )
        url = f"http://127.0.0.1:{self.port}{self.ready_path}"
        wait_until(self._child, lambda: answers(url))

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(STOP_GRACE_S)
            self._child = None

    def headers_of(self, _client: int) -> dict[str, str]:
        """Return what a client, by its number, sends beside its question."""
        return self.headers

    def worker(self) -> psutil.Process:
        """Return the process that serves: the only child of a master, or the process itself."""
        assert self._child is not None
        process = psutil.Process(self._child.pid)
        return next(iter(process.children()), process)

    def cpu(self) -> CpuTimes | None:
        """Return the CPU time that it and its database have used, where that can be told."""
        return None

    def prepare(self, place: Workplace) -> None:  # noqa: B027  # most need nothing
        """Make what the command needs."""

    @abstractmethod
    def command(self, place: Workplace) -> Sequence[str | Path]: ...

    def environment(self, _place: Workplace) -> Mapping[str, str]:
        return {}


def run_process(
    name: str, command: Sequence[str | Path], folder: Path, variables: Mapping[str, str]
) -> Child:
    env = {**passed_environment(), **variables}
    log_path = folder / f"{name.replace(' ', '-').lower()}.log"
    return Child(name, command, log_path=log_path, env=env, cwd=PROJECT_ROOT)


def passed_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}


def wait_until(child: Child, is_ready: Callable[[], bool]) -> None:
    """Raises: ChildDiedError, StartError."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        child.require_alive()
        if time.monotonic() > deadline_s:
            raise StartError(f"{child.name} was not ready in time:\n{child.log_tail()}")
        time.sleep(POLL_S)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
