"""The spool's disk is full, or takes nothing: the mode decides, and nothing that was done is
lost."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.config.settings import Settings
from tests.audit.trail import calls_on_record
from tests.fakes.litellm import FakeLiteLLM, completion
from tests.ledger.served import BODY, CHAT, USAGE
from tests.servers import ProxyServer, run_solaris
from tests.waiting import wait_until

DISK_BYTES = 8 * 1024 * 1024
# More than the last block of the file may still have room for.
MANY_CALLS = 60


@dataclass
class Disk:
    """A file system of its own, of eight megabytes."""

    path: Path

    def fill(self) -> None:
        with contextlib.suppress(OSError), (self.path / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(65536))

    def clear(self) -> None:
        (self.path / "filler").unlink()

    def let_write(self, *, may: bool) -> None:
        self._mount("-o", f"remount,{'rw' if may else 'ro'}")

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.path)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may mount no file system")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@dataclass
class Place:
    proxy: ProxyServer
    key: str

    def ask(self) -> tuple[int, str]:
        """Return the status of one call, and its id."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", CHAT, BODY, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, str(answer.getheader("x-request-id"))

    def ask_until(self, status: int) -> list[str]:
        """Return the calls that were answered before the first one with this status."""
        answered: list[str] = []
        for _ in range(MANY_CALLS):
            got, request_id = self.ask()
            if got == status:
                return answered
            answered.append(request_id)
        raise AssertionError(f"no {status} in {MANY_CALLS} calls")


@pytest.fixture
def start(
    disk: Disk,
    start_proxy: Callable[..., ProxyServer],
    upstream: FakeLiteLLM,
) -> Callable[[str], Place]:
    """Start a proxy whose spool is on that disk: ``start("strict")``."""
    upstream.default = completion(usage=USAGE)

    def started(mode: str) -> Place:
        variables = {"BUDGET_MODE": mode, "SPOOL_DIR": str(disk.path), "USER_CONCURRENCY": "0"}
        proxy = start_proxy(workers=1, env=variables)
        created = run_solaris(proxy.environment, "keys", "create", "librechat")
        return Place(proxy, created.stdout.splitlines()[-1])

    return started


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_strict_proxy_takes_no_call_that_it_cannot_record_and_recovers_by_itself(
    start: Callable[[str], Place], disk: Disk, settings: Settings, trouble: str
) -> None:
    place = start("strict")

    begin(disk, trouble)
    answered = place.ask_until(503)
    end(disk, trouble)
    wait_until(lambda: place.ask()[0] == 200)

    assert "audit_spool_unwritable" in place.proxy.log
    assert_all_on_record(settings, disk, answered)


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_lenient_proxy_goes_on_and_records_what_waited(
    start: Callable[[str], Place], disk: Disk, settings: Settings, trouble: str
) -> None:
    place = start("lenient")

    begin(disk, trouble)
    calls = [place.ask() for _ in range(MANY_CALLS)]
    end(disk, trouble)
    wait_until(lambda: place.ask()[0] == 200 and "writable_again" in place.proxy.log)

    assert {status for status, _ in calls} == {200}
    assert_all_on_record(settings, disk, [request_id for _, request_id in calls])


def begin(disk: Disk, trouble: str) -> None:
    if trouble == "full":
        disk.fill()
    else:
        disk.let_write(may=False)


def end(disk: Disk, trouble: str) -> None:
    if trouble == "full":
        disk.clear()
    else:
        disk.let_write(may=True)


def assert_all_on_record(settings: Settings, disk: Disk, answered: list[str]) -> None:
    events = calls_on_record(settings.database.url, len(answered) + 1)
    recorded = [str(event["event_id"]) for event in events if event["status"] == 200]
    assert set(answered) <= set(recorded)
    assert len(recorded) == len(set(recorded))
    # No line was broken.
    assert not (disk.path / "audit" / "set-aside.jsonl").exists()
