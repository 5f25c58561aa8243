"""Events on disk: written whole or not at all, taken over from the dead, never twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.audit.chain import Checkpoint
from app.audit.event import AuditEvent, to_line
from app.audit.shipper import ASIDE, AuditShipper
from app.audit.spool import SEGMENT_BYTES, Spool
from app.audit.store import UnstorableEventError
from app.utils.exceptions import DatabaseUnavailableError, SpoolUnavailableError
from tests.audit.events import event, events
from tests.waiting import wait_until

PLENTY = 10**9
# A process that writes lines, says so, and waits to be killed.
WRITER = """
import sys, time
from pathlib import Path
from app.audit.spool import Spool
spool = Spool(Path(sys.argv[1]), 10**9, "writer")
for number in range(int(sys.argv[2])):
    spool.append(b"%d\\n" % number)
print("written", flush=True)
time.sleep(60)
"""


def spool_in(folder: Path, name: str = "mine", max_bytes: int = PLENTY) -> Spool:
    return Spool(folder, max_bytes, name)


def lines(spool: Spool) -> list[bytes]:
    return [line for segment in spool.segments() for line in segment.read(PLENTY)]


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for line in (b"a\n", b"b\n"):
        spool.append(line)

    assert lines(spool) == [b"a\n", b"b\n"]


def test_full_file_is_followed_by_another(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    line = b"x" * (SEGMENT_BYTES // 2 - 1) + b"\n"
    for _ in range(3):
        spool.append(line)

    assert [segment.size for segment in spool.segments()] == [SEGMENT_BYTES, SEGMENT_BYTES // 2]


def test_share_of_the_disk_that_is_used_up_takes_no_more(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, max_bytes=5)
    spool.append(b"abc\n")

    with pytest.raises(SpoolUnavailableError):
        spool.append(b"de\n")
    assert lines(spool) == [b"abc\n"]


def test_file_of_a_killed_process_is_taken_over_with_all_that_it_wrote(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), "1000"]
    spool = spool_in(tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        assert spool.take_over() == 0
        writer.kill()

    assert spool.take_over() == 1
    assert lines(spool) == [b"%d\n" % number for number in range(1000)]


def test_unfinished_last_line_of_a_dead_process_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "dead.000000.events").write_bytes(b"whole\nhal")
    spool = spool_in(tmp_path)

    spool.take_over()

    assert lines(spool) == [b"whole\n"]


def test_two_processes_never_both_take_a_file_over(tmp_path: Path) -> None:
    (tmp_path / "dead.000000.events").write_bytes(b"a\n")

    taken = [spool_in(tmp_path, name).take_over() for name in ("one", "two")]

    assert taken == [1, 0]


def test_file_of_which_everything_is_shipped_is_gone(tmp_path: Path) -> None:
    (tmp_path / "dead.000000.events").write_bytes(b"a\n")
    spool = spool_in(tmp_path)
    spool.take_over()
    (segment,) = spool.segments()
    segment.shipped = segment.size

    spool.forget(segment)

    assert (spool.segments(), list(tmp_path.iterdir())) == ([], [])


class Postgres:
    """Takes events, but those that are told to fail, and none while it is away."""

    def __init__(self, *bad: AuditEvent) -> None:
        self.bad = {it.event_id for it in bad}
        self.is_away = False
        self.took: list[str] = []

    def append(self, batch: Sequence[AuditEvent]) -> list[Checkpoint]:
        if self.is_away:
            raise DatabaseUnavailableError(retry_after_s=1)
        ids = [it.event_id for it in batch]
        if self.bad.intersection(ids):
            raise UnstorableEventError
        self.took += ids
        return []


def shipped(postgres: Postgres, folder: Path, *written: bytes) -> None:
    """Run a shipper from start to stop over these lines."""
    spool = spool_in(folder)
    for line in written:
        spool.append(line)
    shipper = AuditShipper(spool, postgres.append, folder)
    shipper.start()
    shipper.stop(10)


def test_event_that_no_database_takes_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    some = events(9)
    postgres = Postgres(some[4])

    shipped(postgres, tmp_path, *map(to_line, some))

    assert sorted(postgres.took) == sorted(it.event_id for it in some if it is not some[4])
    assert (tmp_path / ASIDE).read_bytes() == to_line(some[4])


def test_line_that_is_no_event_is_set_aside(tmp_path: Path) -> None:
    good = event()
    postgres = Postgres()

    shipped(postgres, tmp_path, b"no event\n", to_line(good))

    assert postgres.took == [good.event_id]
    assert (tmp_path / ASIDE).read_bytes() == b"no event\n"


def test_events_wait_for_a_database_that_is_away(tmp_path: Path) -> None:
    postgres, spool = Postgres(), spool_in(tmp_path)
    postgres.is_away = True
    shipper = AuditShipper(spool, postgres.append, tmp_path)
    some = events(3)
    for it in some:
        spool.append(to_line(it))

    shipper.start()
    wait_until(lambda: shipper.is_behind)
    postgres.is_away = False
    wait_until(lambda: len(postgres.took) == len(some))
    shipper.stop(10)

    assert postgres.took == [it.event_id for it in some]
    assert os.listdir(tmp_path) == ["mine.000000.events"]  # noqa: PTH208
    assert (tmp_path / "mine.000000.events").stat().st_size == 0
