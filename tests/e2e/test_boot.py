"""TERM at any moment of the start: nothing is served yet, so nobody has to be waited for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.config.settings import PROJECT_ROOT, Settings
from app.embedded.network import free_port
from tests.servers import environment_of, passed_on

START_TIMEOUT_S = 30.0
DRAIN_GRACE_S = 30


@pytest.fixture
def booting(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A gunicorn that has just forked its first worker."""
    environment = passed_on() | environment_of(Settings(), free_port())
    solaris = Path(sys.executable).with_name("solaris")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [solaris, "serve"],
            env=environment | {"DRAIN_GRACE": str(DRAIN_GRACE_S), "SPOOL_DIR": str(tmp_path)},
            cwd=PROJECT_ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not psutil.Process(process.pid).children() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.6])
def test_worker_told_to_stop_while_it_boots_does_so_at_once(
    booting: subprocess.Popen[bytes], after_s: float
) -> None:
    time.sleep(after_s)

    booting.send_signal(signal.SIGTERM)

    assert booting.wait(DRAIN_GRACE_S / 3) == 0
