"""This proxy as in production: `solaris serve`, one worker, a real Postgres."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.config.settings import PROJECT_ROOT
from app.embedded.processes import Child
from bench.contenders.base import (
    STOP_GRACE_S,
    Contender,
    StartError,
    Workplace,
    passed_environment,
    run_process,
    wait_until,
)
from bench.machine import on_core
from bench.postgres import URL_FILE

COMMAND_TIMEOUT_S = 60.0


class Solaris(Contender):
    name = "solaris"
    title = "IA SOLARIS Proxy"

    def __init__(self, root: Path = PROJECT_ROOT, binary: Path | None = None) -> None:
        super().__init__()
        self._root = root
        self._binary = binary or Path(sys.executable).with_name("solaris")
        self._postgres: Child | None = None
        self._database_url = ""

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
        self._start_postgres(place)
        self._solaris(place, "db", "upgrade")
        key = self._solaris(place, "keys", "create", "bench").splitlines()[-1]
        self.headers = {"Authorization": f"Bearer {key}"}

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
            "LITELLM_CONFIG": str(self._root / "database" / "litellm-config.yaml"),
            "SECRET_KEY": "bench-secret-key-of-one-run",
            "ADMIN_API_KEY": "sk-bench-admin-key-of-one-run",
            "WEBHOOK_SECRET": "bench-webhook-secret-of-one-run",
            "SPOOL_DIR": str(place.folder / self.name / "spool"),
            "DRAIN_GRACE": "3",
            "LOG_LEVEL": "INFO",
            "ENVIRONMENT": "development",
        }

    def _start_postgres(self, place: Workplace) -> None:
        folder = place.folder / self.name
        folder.mkdir()
        command = [sys.executable, "-m", "bench.postgres", str(folder)]
        # A database has a machine of its own in production: it stays off the server's core.
        with on_core(place.cores.load):
            self._postgres = run_process("Postgres", command, folder, {})
        url_file = folder / URL_FILE
        wait_until(self._postgres, url_file.exists)
        self._database_url = url_file.read_text()

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


class Earlier(Solaris):
    """Another checkout of this proxy, with an environment of its own (`make run` makes one)."""

    name = "earlier"
    title = "earlier version"

    def __init__(self, root: Path) -> None:
        super().__init__(root, root / ".venv" / "bin" / "solaris")
