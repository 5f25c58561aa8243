"""What the bench installs for itself into `var/`, from locked lists of packages."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from app.config.settings import PROJECT_ROOT

BENCH = PROJECT_ROOT / "bench"
INSTALL_TIMEOUT_S = 300.0


class NotInstalledError(RuntimeError):
    """A package could not be installed; the message says why, in one line."""


class Environment:
    """A virtual environment for one list of Python packages."""

    def __init__(self, name: str) -> None:
        self._requirements = BENCH / f"{name}-requirements.txt"
        self._folder = PROJECT_ROOT / "var" / f"bench-{name}"

    @property
    def bin(self) -> Path:
        return self._folder / "bin"

    def install(self) -> None:
        """Install what is not there yet. Raises: NotInstalledError."""
        if _is_marked(self._folder, self._requirements):
            return
        venv.create(self._folder, with_pip=True, clear=True)
        _run([self.bin / "python", "-m", "pip", "install", "-q", "-r", self._requirements])
        _mark(self._folder, self._requirements)


class NodeFolder:
    """A folder of npm's, with a Node of its own, for one lock file."""

    def __init__(self, name: str) -> None:
        self._source = BENCH / name
        self._folder = PROJECT_ROOT / "var" / f"bench-{name}"

    @property
    def modules(self) -> Path:
        return self._folder / "node_modules"

    def install(self) -> None:
        """Install what is not there yet. Raises: NotInstalledError."""
        lock = self._source / "package-lock.json"
        if _is_marked(self._folder, lock):
            return
        if shutil.which("npm") is None:
            raise NotInstalledError("npm is missing")
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._source, self._folder)
        _run(["npm", "ci", "--prefix", self._folder, "--no-progress", "--loglevel", "error"])
        _mark(self._folder, lock)


def _run(command: Sequence[str | Path]) -> None:
    try:
        result = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as fault:
        raise NotInstalledError(str(fault)) from fault
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        raise NotInstalledError(said[-1] if said else f"{command[0]} failed")


def _is_marked(folder: Path, lock: Path) -> bool:
    marker = folder / "installed"
    return marker.is_file() and marker.read_text() == _fingerprint(lock)


def _mark(folder: Path, lock: Path) -> None:
    (folder / "installed").write_text(_fingerprint(lock))


def _fingerprint(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
