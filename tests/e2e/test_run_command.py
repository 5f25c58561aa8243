"""`solaris run`, which is `make run`: everything starts, works, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from app.config.settings import PROJECT_ROOT
from app.embedded.engines import EmbeddedValkey
from app.embedded.network import free_port

pytestmark = [pytest.mark.litellm, pytest.mark.timeout(300)]

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
SOLARIS = Path(sys.executable).with_name("solaris")


@dataclass
class Run:
    """One `solaris run` in the background, and what it printed."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, text: str) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while text not in self.text:
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise AssertionError(f"no {text!r} in:\n{self.text}")
            time.sleep(0.1)

    def family(self, state_dir: Path) -> list[psutil.Process]:
        """Return every process of the run; Postgres is nobody's child, its files name it."""
        postgres = int((state_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [*family, psutil.Process(postgres)]


def running(family: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run; a zombie has ended, whoever has not yet asked for its code."""
    return [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def start_run(state_dir: Path, tmp_path: Path) -> Iterator[StartRun]:
    starter = StartRun(state_dir, tmp_path)
    yield starter
    starter.stop_all()


class StartRun:
    def __init__(self, state_dir: Path, folder: Path) -> None:
        self.state_dir = state_dir
        self._folder = folder
        self._runs: list[Run] = []

    def __call__(self, **env: str) -> Run:
        output = self._folder / f"run-{len(self._runs)}.txt"
        kept = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
        variables = {name: os.environ[name] for name in kept if name in os.environ}
        with output.open("wb") as out:
            process = subprocess.Popen(
                [SOLARIS, "run", "--state-dir", self.state_dir],
                env=variables | {"PORT": str(free_port())} | env,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=PROJECT_ROOT,
            )
        run = Run(process, output)
        self._runs.append(run)
        return run

    def stop_all(self) -> None:
        for run in self._runs:
            if run.process.poll() is None:
                run.process.send_signal(signal.SIGINT)
                run.process.wait(STOP_TIMEOUT_S)


def test_run_prints_a_curl_line_that_streams_an_answer(start_run: StartRun) -> None:
    run = start_run()
    run.wait_for("librechat.yaml")
    line = re.search(r"^curl .*$", run.text, re.MULTILINE)
    assert line is not None
    answer = subprocess.run(
        ["bash", "-c", line[0] + " --silent"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout.count("data: ") > 2
    assert answer.stdout.rstrip().endswith("data: [DONE]")


def test_command_in_another_terminal_signs_the_trail_with_the_same_key(
    start_run: StartRun,
) -> None:
    start_run().wait_for("librechat.yaml")
    left = shlex.quote(str(start_run.state_dir / "env"))
    budget = "budgets set --scope user --subject ana --metric tokens --period day --limit 60"
    commands = f"set -a; . {left}; set +a; {SOLARIS} {budget} && {SOLARIS} audit verify"

    verified = subprocess.run(
        ["bash", "-c", commands], capture_output=True, text=True, check=False, timeout=60
    )

    assert verified.returncode == 0, verified.stderr
    assert "a trilha confere" in verified.stdout


def test_interrupt_ends_every_process(start_run: StartRun) -> None:
    run = start_run()
    run.wait_for("librechat.yaml")
    family = run.family(start_run.state_dir)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(STOP_TIMEOUT_S) == 0
    assert running(family) == []


def test_second_run_beside_the_first_is_refused(start_run: StartRun) -> None:
    start_run().wait_for("librechat.yaml")
    second = start_run()
    assert second.process.wait(STOP_TIMEOUT_S) == 1
    assert "Já está rodando" in second.text


def test_run_after_a_kill_starts_again_with_the_same_key(start_run: StartRun) -> None:
    first = start_run()
    first.wait_for("librechat.yaml")
    family = first.family(start_run.state_dir)
    first.process.kill()
    first.process.wait()
    second = start_run()
    second.wait_for("librechat.yaml")
    assert (
        re.findall(r"sk-solaris-\S+", second.text)[0]
        == re.findall(r"sk-solaris-\S+", first.text)[0]
    )
    second.process.send_signal(signal.SIGINT)
    second.process.wait(STOP_TIMEOUT_S)
    assert running(family) == []


def test_taken_port_is_named_and_nothing_is_left(start_run: StartRun) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = start_run(PORT=str(taken.getsockname()[1]), LOCALE="en")
        assert run.process.wait(STOP_TIMEOUT_S) == 1
    assert "is taken by another program" in run.text


def test_run_with_a_redis_named_by_its_parts_uses_it(start_run: StartRun, tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path / "valkey")
    try:
        run = start_run(REDIS_HOST="127.0.0.1", REDIS_PORT=str(valkey.port))
        run.wait_for("librechat.yaml")
        assert "Valkey" not in run.text
    finally:
        start_run.stop_all()
        valkey.stop()


def test_litellm_that_cannot_start_is_shown_with_its_log(
    start_run: StartRun, tmp_path: Path
) -> None:
    shipped = (PROJECT_ROOT / "database" / "litellm-config.yaml").read_text()
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        shipped.replace("router_settings:", "router_settings:\n  health_check_interval: 60")
    )
    run = start_run(LITELLM_CONFIG=str(broken), LOCALE="en")
    assert run.process.wait(START_TIMEOUT_S) == 1
    assert "LiteLLM stopped (exit code" in run.text
    assert "All stopped." in run.text
