"""LiteLLM in a virtual environment of its own: it pins other versions of what the proxy uses."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import yaml

from app.config.problems import DEFAULT_LOCALE
from app.config.settings import PROJECT_ROOT
from app.embedded.litellm_config import render, to_yaml
from app.embedded.processes import Child

CALLBACK = PROJECT_ROOT / "database" / "ia_solaris_webhook.py"
REQUIREMENTS = PROJECT_ROOT / "database" / "litellm-requirements.txt"
STOP_GRACE_S = 5.0


class InstallFailedError(RuntimeError):
    """pip could not install LiteLLM; ``tail`` is what it said last."""

    def __init__(self, tail: str) -> None:
        self.tail = tail
        super().__init__("pip could not install LiteLLM")


class LiteLLMEnvironment:
    """The virtual environment; installed once for each version of its requirements."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marker = folder / "installed"

    @property
    def python(self) -> Path:
        return self._folder / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        return self._marker.is_file() and self._marker.read_text() == _requirements_hash()

    def install(self, log_path: Path) -> None:
        """Raises: InstallFailedError."""
        venv.create(self._folder, with_pip=True, clear=True)
        command: list[str | Path] = [
            self.python,
            "-m",
            "pip",
            "install",
            "--no-input",
            "-r",
            REQUIREMENTS,
        ]
        with log_path.open("wb") as log:
            result = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)  # noqa: S603  # our own command
        if result.returncode != 0:
            raise InstallFailedError("\n".join(log_path.read_text().splitlines()[-8:]))
        self._marker.write_text(_requirements_hash())

    def has_package(self, name: str) -> bool:
        if not self.python.exists():
            return False
        probe = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is None)"
        return subprocess.run([self.python, "-c", probe], check=False).returncode == 0  # noqa: S603  # our own command


class LiteLLMServer:
    """One LiteLLM process on the loopback interface."""

    def __init__(
        self,
        environment: LiteLLMEnvironment,
        *,
        shipped_config: Path,
        state_dir: Path,
        port: int,
        variables: Mapping[str, str],
        locale: str = DEFAULT_LOCALE,
    ) -> None:
        rendered = render(
            yaml.safe_load(shipped_config.read_text(encoding="utf-8")),
            variables,
            environment.has_package,
            mock_locale=locale,
        )
        self.mocked = rendered.keyless
        config_path = state_dir / "litellm-config.yaml"
        config_path.write_text(to_yaml(rendered.config), encoding="utf-8")
        place_callback(state_dir)
        self.base_url = f"http://127.0.0.1:{port}"
        self.child = Child(
            "LiteLLM",
            [
                environment.python.with_name("litellm"),
                *("--config", config_path, "--host", "127.0.0.1", "--port", str(port)),
                *("--telemetry", "False"),
            ],
            log_path=state_dir / "litellm.log",
            env=child_variables(variables),
            cwd=state_dir,
        )

    def stop(self) -> None:
        self.child.stop(STOP_GRACE_S)


def place_callback(folder: Path) -> None:
    """Put the callback where LiteLLM looks for it: beside its configuration. Raises: OSError."""
    shutil.copyfile(CALLBACK, folder / CALLBACK.name)


def child_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of LiteLLM beside a proxy that has ``variables``."""
    # LiteLLM would take the proxy's database for its own.
    without = {"DATABASE_URL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    kept = {name: value for name, value in variables.items() if name not in without}
    return kept | {
        # Otherwise it reads the .env of any folder above its own, the project's included.
        "LITELLM_MODE": "PRODUCTION",
        # Its table of prices is in the package; fetching it again delays the start where there is
        # no way out to the internet.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONUNBUFFERED": "1",
    }


def _requirements_hash() -> str:
    content = REQUIREMENTS.read_bytes() + sys.version.encode()
    return hashlib.sha256(content).hexdigest()
