"""What one machine keeps between runs, in `./var`: secrets, data, logs, and who is running."""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

GENERATED_SECRETS = {
    "SECRET_KEY": "",
    "LITELLM_MASTER_KEY": "sk-",
    "ADMIN_API_KEY": "sk-admin-",
    "WEBHOOK_SECRET": "",
    "AUDIT_HMAC_KEY": "",
}


class AlreadyRunningError(RuntimeError):
    def __init__(self, pid: str) -> None:
        self.pid = pid
        super().__init__(f"already running as {pid}")


class StateDirectory:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def claim(self) -> None:
        """Become the only run. Raises: AlreadyRunningError."""
        for folder in (self.path, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        # Close-on-exec, so that no child keeps the lock of a run that has died.
        self._lock = os.open(self.path / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(os.read(self._lock, 32).decode() or "?") from None
        os.truncate(self._lock, 0)
        os.write(self._lock, str(os.getpid()).encode())

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def litellm_venv(self) -> Path:
        return self.path / "litellm-venv"

    @property
    def env_file(self) -> Path:
        return self.path / "env"

    def secrets(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the secrets of this machine, made at first use; the environment's win.

        One that the environment has in a file (`NAME_FILE`) is left to that file.
        """
        known = self._read("secrets.env")
        for name, prefix in GENERATED_SECRETS.items():
            known.setdefault(name, prefix + secrets.token_hex(24))
        self._write("secrets.env", known)
        given = {name: environment[name] for name in known if environment.get(name)}
        return {
            name: value
            for name, value in (known | given).items()
            if not environment.get(f"{name}_FILE")
        }

    def known_key(self) -> str | None:
        """Return the API key that an earlier run made for the person at the terminal."""
        return self._read("secrets.env").get("SOLARIS_API_KEY")

    def remember_key(self, key: str) -> None:
        self._write("secrets.env", self._read("secrets.env") | {"SOLARIS_API_KEY": key})

    def write_env(self, variables: Mapping[str, str]) -> None:
        """Leave the run's variables for other terminals, until the run ends."""
        self._write("env", variables)

    def remove_env(self) -> None:
        self.env_file.unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, str]:
        path = self.path / name
        if not path.exists():
            return {}
        pairs = (line.partition("=") for line in path.read_text().splitlines())
        return {name: shlex.split(value)[0] for name, _, value in pairs if value}

    def _write(self, name: str, values: Mapping[str, str]) -> None:
        path = self.path / name
        # Made for the owner only from its first byte on.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{key}={shlex.quote(value)}\n" for key, value in values.items())
