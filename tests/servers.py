"""The proxy as it runs in production: `solaris serve`, gunicorn, a port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from app.config.settings import PROJECT_ROOT, Settings
from app.embedded.network import free_port

START_TIMEOUT_S = 30.0


def environment_of(settings: Settings, port: int) -> dict[str, str]:
    """Return the variables that make a process run with ``settings``."""
    return {
        "ENVIRONMENT": settings.environment,
        "PORT": str(port),
        "WORKERS": str(settings.server.workers),
        "DRAIN_GRACE": str(settings.server.drain_grace_s),
        "SPOOL_DIR": str(settings.server.state_dir),
        "DATABASE_URL": settings.database.url,
        "LITELLM_BASE_URL": settings.litellm.base_url,
        "LITELLM_MASTER_KEY": settings.litellm.master_key,
        "LITELLM_TIMEOUT": str(settings.litellm.timeout_s),
        "LITELLM_CONFIG": str(settings.litellm.config_path),
        "USER_CONCURRENCY": str(settings.budgets.user_concurrency),
        "REDIS_URL": settings.redis.url or "",
        "LOCALE": settings.locale,
        "SECRET_KEY": settings.security.secret_key,
        "ADMIN_API_KEY": settings.security.admin_api_key or "",
        "WEBHOOK_SECRET": next(iter(settings.security.webhook_secrets), ""),
        "AUDIT_HMAC_KEY": settings.audit.hmac_keys[0],
    }


def passed_on() -> dict[str, str]:
    """Return what a process needs of this one's environment, coverage included."""
    return {k: v for k, v in os.environ.items() if k.startswith(("PATH", "HOME", "COV"))}


def run_solaris(
    environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    solaris = str(Path(sys.executable).with_name("solaris"))
    return subprocess.run(
        [solaris, *arguments],
        env=passed_on() | dict(environment),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class ProxyServer:
    """One gunicorn with its workers, and its log."""

    command: Sequence[str] = ("solaris", "serve")

    def __init__(self, settings: Settings, folder: Path, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = folder / f"proxy-{self.port}.log"
        self._env = environment_of(settings, self.port) | dict(env)
        self._drain_grace_s = settings.server.drain_grace_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program, *arguments = self.command
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name(program), *arguments],
                env=self.environment,
                cwd=PROJECT_ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the proxy did not start:\n{self.log}")
            time.sleep(0.05)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that the server runs with, and a command beside it should."""
        return passed_on() | self._env

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    @property
    def workers(self) -> list[psutil.Process]:
        return self.process.children()

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def terminate(self) -> None:
        """Send TERM and return at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self.terminate()
        try:
            self._process.wait(self._drain_grace_s + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/livez", timeout=1) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False
