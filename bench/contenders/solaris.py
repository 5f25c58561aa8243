"""This proxy as in production: `solaris serve`, one worker, a real Postgres.

Every call is the full job: a key, a hold on every budget that applies, and its settlement.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import yaml

from app.config.settings import PROJECT_ROOT
from app.embedded.processes import Child
from bench.contenders.base import (
    STOP_GRACE_S,
    Contender,
    StartError,
    Workplace,
    passed_environment,
)
from bench.engine import start_engine
from bench.machine import CpuTimes

COMMAND_TIMEOUT_S = 60.0
# Beyond what a run can spend: a thousand dollars each.
PERSONAL_LIMIT = "1000000000"


class Solaris(Contender):
    name = "solaris"
    # One of the shipped budgets binds every call: 1000 USD a month for all together.
    title = "IA SOLARIS Proxy"

    def __init__(self, root: Path = PROJECT_ROOT, binary: Path | None = None) -> None:
        super().__init__()
        self._root = root
        self._binary = binary or Path(sys.executable).with_name("solaris")
        self._postgres: Child | None = None
        self._database_url = ""
        self._data = Path()

    def missing(self) -> str | None:
        return None if self._binary.exists() else f"{self._binary} does not exist"

    def stop(self) -> None:
        super().stop()
        if self._postgres is not None:
            self._postgres.stop(STOP_GRACE_S)
            self._postgres = None

    def restart(self, place: Workplace) -> None:
        """Begin anew with a worker whose memory is at rest; Postgres and the key stay."""
        super().stop()
        super().start(place)

    def prepare(self, place: Workplace) -> None:
        if self._postgres is not None:
            return
        folder = place.folder / self.name
        self._postgres, self._database_url = start_engine("postgres", folder, place)
        self._data = folder / "postgres"
        self._solaris(place, "db", "upgrade")
        self._prepare_accounts(place)

    def cpu(self) -> CpuTimes:
        worker = self.worker()
        threads = {thread.id: thread.user_time + thread.system_time for thread in worker.threads()}
        loop_s = threads.pop(worker.pid)
        return CpuTimes(loop_s, sum(threads.values()), self._database_cpu_s())

    def _database_cpu_s(self) -> float:
        """Return the CPU seconds of every process of Postgres's so far."""
        assert self._postgres is not None
        pid = (self._data / "postmaster.pid").read_text().split("\n", 1)[0]
        master = psutil.Process(int(pid))
        # Its backends as they are, and those that have ended.
        return sum(map(_cpu_s, [master, *master.children()])) + _ended_children_s(master)

    def _prepare_accounts(self, place: Workplace) -> None:
        self.headers = self._key(place, "bench")

    def _key(self, place: Workplace, *arguments: str) -> dict[str, str]:
        key = self._solaris(place, "keys", "create", *arguments).splitlines()[-1]
        return {"Authorization": f"Bearer {key}"}

    def command(self, _place: Workplace) -> Sequence[str | Path]:
        return [self._binary, "serve"]

    def environment(self, place: Workplace) -> Mapping[str, str]:
        return {
            "PORT": str(self.port),
            "HOST": "127.0.0.1",
            "WORKERS": "1",
            "DATABASE_URL": self._database_url,
            "LITELLM_BASE_URL": place.upstream_url,
            "LITELLM_MASTER_KEY": "sk-bench-master-key-of-one-run",
            "LITELLM_CONFIG": str(self._litellm_config(place)),
            "SECRET_KEY": "bench-secret-key-of-one-run",
            "ADMIN_API_KEY": "sk-bench-admin-key-of-one-run",
            "WEBHOOK_SECRET": "bench-webhook-secret-of-one-run",
            "SPOOL_DIR": str(place.folder / self.name / "spool"),
            "DRAIN_GRACE": "3",
            "LOG_LEVEL": "INFO",
            "ENVIRONMENT": "development",
        }

    def _litellm_config(self, _place: Workplace) -> Path:
        return self._root / "database" / "litellm-config.yaml"

    def _solaris(self, place: Workplace, *arguments: str) -> str:
        """Run the command line and return its standard output. Raises: StartError."""
        result = subprocess.run(
            [self._binary, *arguments],
            env={**passed_environment(), **self.environment(place)},
            cwd=self._root,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            raise StartError(f"solaris {' '.join(arguments)} failed:\n{result.stderr[-2000:]}")
        return result.stdout.strip()


class SolarisApart(Solaris):
    """No budget that all calls share: each caller is a person with one of their own."""

    name = "solaris-apart"
    title = "IA SOLARIS Proxy, personal budgets"

    def headers_of(self, client: int) -> dict[str, str]:
        return {**self.headers, "X-Solaris-User-Id": f"person-{client}"}

    def _prepare_accounts(self, place: Workplace) -> None:
        self.headers = self._key(place, "bench", "--trusted")
        budget = ("--scope", "user", "--subject", "*", "--metric", "cost", "--period", "month")
        self._solaris(place, "budgets", "set", *budget, "--limit", PERSONAL_LIMIT)

    def _litellm_config(self, place: Workplace) -> Path:
        """Return the shipped configuration without its budgets."""
        path = place.folder / self.name / "litellm-config.yaml"
        if not path.exists():
            config = yaml.safe_load(super()._litellm_config(place).read_text(encoding="utf-8"))
            del config["solaris"]["budget_and_rate_limits"]
            path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path


class Earlier(Solaris):
    """Another checkout of this proxy, with an environment of its own (`make run` makes one)."""

    name = "earlier"
    title = "earlier version"

    def __init__(self, root: Path) -> None:
        super().__init__(root, root / ".venv" / "bin" / "solaris")


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _ended_children_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)
