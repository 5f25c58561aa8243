"""The machine: which core does what, how busy each is, and what the numbers were measured on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from app.version import __version__

PACKAGES = ("flask", "gunicorn", "uvloop", "aiohttp", "sqlalchemy", "psycopg2-binary", "orjson")


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the server under test, one for the load, the upstream and Postgres."""

    server: int
    load: int

    @property
    def are_apart(self) -> bool:
        return self.server != self.load

    @classmethod
    def choose(cls) -> Cores:
        available = sorted(os.sched_getaffinity(0))
        return cls(server=available[0], load=available[min(1, len(available) - 1)])


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run this thread, and whatever it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Busy:
    """How much of each core was in use, by whomever: 0 to 1."""

    server: float
    load: float


class BusyMeter:
    """Measures from its making to each reading."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._before = psutil.cpu_times(percpu=True)

    def read(self) -> Busy:
        now = psutil.cpu_times(percpu=True)
        shares = {
            core: _busy_share(self._before[core], now[core])
            for core in (self._cores.server, self._cores.load)
        }
        return Busy(shares[self._cores.server], shares[self._cores.load])


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """The CPU time of this proxy's parts, in seconds.

    ``loop``: the main thread, with Flask; ``threads``: all others, of which only the ledger's
    works; ``postgres``: all its processes.
    """

    loop: float
    threads: float
    postgres: float

    @property
    def total(self) -> float:
        return self.loop + self.threads + self.postgres

    def of_each(self, before: CpuTimes, calls: int) -> CpuTimes:
        """Return what one of ``calls`` since ``before`` has taken."""
        return CpuTimes(
            (self.loop - before.loop) / calls,
            (self.threads - before.threads) / calls,
            (self.postgres - before.postgres) / calls,
        )


class MemoryWatch:
    """The resident memory of one process: at rest, and the most seen since."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.idle_bytes = self.peak_bytes = self._resident()

    def sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self._resident())

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)


def refused_connections() -> int:
    """Return how many connections this machine has dropped because a server's queue was full.

    The client's kernel tries again after 1, 3, 7 s, so a few of them explain a late first byte.
    """
    with contextlib.suppress(OSError):
        lines = Path("/proc/net/netstat").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
        return int(values[names.index("ListenDrops")])
    return 0


@dataclass(frozen=True, slots=True)
class Machine:
    """What belongs beside every number."""

    measured_at: str
    cpu: str
    cores: int
    kernel: str
    python: str
    proxy: str
    packages: dict[str, str]

    @classmethod
    def describe(cls, rivals: dict[str, str]) -> Machine:
        """``rivals``: name and version of what is not in this environment."""
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        return cls(
            measured_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            cpu=_cpu_model(),
            cores=os.cpu_count() or 1,
            kernel=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            proxy=" ".join(filter(None, (__version__, _commit()))),
            packages=versions | rivals,
        )


def first_words_of(command: Sequence[str | Path]) -> str:
    """Return what a command prints, on either output; "" when it cannot be run."""
    try:
        result = subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.decode(errors="replace").strip()


def _busy_share(before: object, now: object) -> float:
    # In virtual machines stolen time was wanted, too, but not had: it counts as busy.
    idle_s = sum(getattr(now, name) - getattr(before, name) for name in ("idle", "iowait"))
    total_s = sum(_counted(now)) - sum(_counted(before))
    return 1.0 - idle_s / total_s if total_s > 0 else 0.0


def _counted(times: object) -> list[float]:
    # guest is part of user already.
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    return [float(getattr(times, name)) for name in names]


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    return first_words_of([git, "describe", "--always", "--dirty", "--exclude=*"])
