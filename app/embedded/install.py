"""`python -m app.embedded.install`: LiteLLM's environment alone, for the tests and benchmarks."""

from __future__ import annotations

import sys

from app.config.settings import PROJECT_ROOT
from app.embedded.litellm_server import InstallFailedError, LiteLLMEnvironment
from app.embedded.state import StateDirectory


def main() -> int:
    state = StateDirectory(PROJECT_ROOT / "var")
    state.logs.mkdir(parents=True, exist_ok=True)
    environment = LiteLLMEnvironment(state.litellm_venv)
    if environment.is_installed:
        return 0
    try:
        environment.install(state.logs / "litellm-install.log")
    except InstallFailedError as error:
        sys.stderr.write(f"{error}:\n{error.tail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
