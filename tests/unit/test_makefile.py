from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from app.config.settings import PROJECT_ROOT
from app.embedded.state import StateDirectory


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(PROJECT_ROOT / "Makefile", tmp_path)
    (tmp_path / "app" / "__pycache__").mkdir(parents=True)
    (tmp_path / ".import_linter_cache").mkdir()
    return tmp_path


def clean(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "clean"], cwd=checkout, capture_output=True, text=True, check=False, timeout=30
    )


def test_clean_leaves_what_was_there_before(checkout: Path) -> None:
    (checkout / "var").mkdir()
    (checkout / "var" / "run.lock").touch()

    done = clean(checkout)

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in checkout.iterdir()) == ["Makefile", "app"]
    assert list((checkout / "app").iterdir()) == []


def test_clean_beside_a_run_is_refused(checkout: Path) -> None:
    state = StateDirectory(checkout / "var")
    state.claim()

    done = clean(checkout)

    assert done.returncode != 0
    assert "Está rodando" in done.stderr
    assert state.logs.is_dir()
