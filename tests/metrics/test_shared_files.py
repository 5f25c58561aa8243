"""Where workers keep their counts: a folder that is nobody else's, and what is cleared from it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.metrics.shared_files import BASELINE, IN_MEMORY, clear, forget_gauges, leave, make_folder

needs_memory = pytest.mark.skipif(not IN_MEMORY.is_dir(), reason="no /dev/shm on this system")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = make_folder(tmp_path)
    yield made
    if made.is_symlink():
        made.unlink()
    shutil.rmtree(made, ignore_errors=True)


@needs_memory
def test_folder_is_in_memory_and_for_nobody_else(folder: Path) -> None:
    assert folder.parent == IN_MEMORY
    assert folder.stat().st_mode & 0o077 == 0


def test_each_installation_has_a_folder_of_its_own(folder: Path, tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other")

    assert other != folder
    other.rmdir()


@needs_memory
def test_folder_that_leads_elsewhere_is_not_taken(folder: Path, tmp_path: Path) -> None:
    folder.rmdir()
    folder.symlink_to(tmp_path)

    assert make_folder(tmp_path) == tmp_path / "metrics"


def test_what_the_dead_left_is_cleared_and_the_living_keep_theirs(folder: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        (folder / f"counter_{pid}.db").touch()
    (folder / BASELINE).touch()

    clear(folder)

    assert {it.name for it in folder.iterdir()} == {f"counter_{os.getpid()}.db", BASELINE}


def test_reset_is_forgotten_with_everything_that_was_counted(folder: Path) -> None:
    (folder / BASELINE).touch()

    clear(folder)

    assert list(folder.iterdir()) == []


def test_gauges_of_a_dead_worker_go_and_its_counts_stay(folder: Path) -> None:
    for name in ("counter_7.db", "gauge_livesum_7.db", "gauge_livemax_7.db", "gauge_livemax_8.db"):
        (folder / name).touch()

    forget_gauges(folder, 7)

    assert {it.name for it in folder.iterdir()} == {"counter_7.db", "gauge_livemax_8.db"}


def test_server_that_ends_leaves_nothing_but_what_another_needs(
    folder: Path, tmp_path: Path
) -> None:
    alone = make_folder(tmp_path / "alone")
    (folder / f"counter_{os.getpid()}.db").touch()

    leave(folder)
    leave(alone)

    assert (folder.exists(), alone.exists()) == (True, False)
