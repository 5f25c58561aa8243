"""Lines that the disk does not take wait in their order; what memory has no room for is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.audit.intake import MAX_WAITING, RETRY_S, Intake
from app.audit.spool import Spool
from app.utils.exceptions import SpoolUnavailableError
from tests.fakes.clock import FakeClock


class Disk(Spool):
    """Takes lines as long as it has room."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 10**9, "mine")
        self.room = 10**9
        self.lines: list[bytes] = []

    def append(self, line: bytes) -> None:
        if len(self.lines) >= self.room:
            raise SpoolUnavailableError
        self.lines.append(line)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def intake(disk: Disk, clock: FakeClock) -> Intake:
    return Intake(disk, clock)


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d\n" % number for number in range(first, last)]


def test_line_that_the_disk_takes_is_there_at_once(intake: Intake, disk: Disk) -> None:
    intake.take(b"a\n")

    assert (disk.lines, intake.is_open()) == ([b"a\n"], True)


def test_lines_that_waited_are_written_in_their_order(
    intake: Intake, disk: Disk, clock: FakeClock
) -> None:
    disk.room = 2
    for line in numbered(0, 5):
        intake.take(line)
    clock.advance(RETRY_S)
    disk.room = 100

    intake.take(b"5\n")

    assert disk.lines == numbered(0, 6)
    assert intake.is_open()


def test_disk_that_has_room_for_some_of_them_gets_those(
    intake: Intake, disk: Disk, clock: FakeClock
) -> None:
    disk.room = 0
    for line in numbered(0, 5):
        intake.take(line)
    clock.advance(RETRY_S)
    disk.room = 2

    assert not intake.is_open()
    assert disk.lines == numbered(0, 2)


def test_disk_that_took_nothing_is_tried_again_after_a_second_only(
    intake: Intake, disk: Disk, clock: FakeClock
) -> None:
    disk.room = 0
    intake.take(b"a\n")
    clock.advance(RETRY_S)
    assert not intake.is_open()
    disk.room = 100

    assert not intake.is_open()
    clock.advance(RETRY_S)
    assert intake.is_open()


def test_what_memory_has_no_room_for_is_counted(intake: Intake, disk: Disk) -> None:
    disk.room = 0
    for line in numbered(0, MAX_WAITING + 3):
        intake.take(line)

    assert intake.dropped == 3
