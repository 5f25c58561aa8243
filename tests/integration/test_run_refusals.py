"""`solaris run` with what cannot work: one clear message, and nothing is started for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from app.embedded.network import free_port
from tests.servers import run_solaris

# Nothing of these is asked in a test: they only keep embedded engines from being started.
ELSEWHERE = {"REDIS_URL": "redis://127.0.0.1:1/0", "LITELLM_BASE_URL": "http://127.0.0.1:1"}


def run(state_dir: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_solaris({"PORT": str(free_port())} | variables, "run", "--state-dir", str(state_dir))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PORT": "abc"}, "PORT deve ser um número inteiro"),
        ({"LOCALE": "fr"}, "LOCALE deve ser um destes valores: pt_BR, en"),
        ({"DRAIN_GRACE": "1", "LOCALE": "en"}, "DRAIN_GRACE must be between 3 and 3600"),
        ({"LITELLM_CONFIG": "/nowhere.yaml"}, "LITELLM_CONFIG não pode ser lido"),
        ({"ENVIRONMENT": "production"}, "DATABASE_URL precisa ser definida em produção"),
    ],
)
def test_run_with_a_setting_that_cannot_be_used_starts_nothing(
    tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    done = run(tmp_path / "var", **variables)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"- {said}" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert list((tmp_path / "var" / "log").iterdir()) == []


def test_run_with_a_database_that_is_away_says_so_in_a_sentence(tmp_path: Path) -> None:
    away = f"postgresql://nobody:s3cret-word@127.0.0.1:{free_port()}/x"

    done = run(tmp_path / "var", DATABASE_URL=away, **ELSEWHERE)

    assert done.returncode == 1
    assert (
        "As tabelas não puderam ser criadas: o Postgres (DATABASE_URL) não pôde ser alcançado: "
        "Connection refused\n"
    ) in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "s3cret-word" not in done.stdout + done.stderr
