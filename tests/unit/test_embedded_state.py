from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.config.settings import PROJECT_ROOT, load_settings
from app.embedded.state import GENERATED_SECRETS, AlreadyRunningError, StateDirectory

CLAIM_AND_DIE = """
import os, sys
from pathlib import Path
from app.embedded.state import StateDirectory
StateDirectory(Path(sys.argv[1])).claim()
os._exit(9)
"""


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "var")
    directory.claim()
    return directory


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_claimed_has_a_place_for_logs(state: StateDirectory) -> None:
    assert state.logs.is_dir()


def test_directory_claimed_twice_names_the_run_that_has_it(state: StateDirectory) -> None:
    with pytest.raises(AlreadyRunningError) as caught:
        StateDirectory(state.path).claim()

    assert caught.value.pid == str(os.getpid())


def test_directory_of_a_run_that_died_can_be_claimed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIM_AND_DIE, str(tmp_path)]
    died = subprocess.run(command, cwd=PROJECT_ROOT, timeout=30, check=False)

    StateDirectory(tmp_path).claim()

    assert died.returncode == 9
    assert (tmp_path / "run.lock").read_text() == str(os.getpid())


def test_secrets_made_at_first_use_are_kept(state: StateDirectory) -> None:
    first = state.secrets({})

    assert StateDirectory(state.path).secrets({}) == first


def test_secrets_made_have_their_prefixes_and_differ(state: StateDirectory) -> None:
    made = state.secrets({})

    assert [
        name for name in GENERATED_SECRETS if not made[name].startswith(GENERATED_SECRETS[name])
    ] == []
    assert len(set(made.values())) == len(GENERATED_SECRETS)


def test_secrets_made_satisfy_production(state: StateDirectory) -> None:
    variables = state.secrets({}) | {"DATABASE_URL": "postgresql://u:p@db/x"}

    assert load_settings(variables).is_production


def test_secret_of_the_environment_wins_but_is_not_kept(state: StateDirectory) -> None:
    chosen = state.secrets({"SECRET_KEY": "chosen", "WEBHOOK_SECRET": ""})

    assert chosen["SECRET_KEY"] == "chosen"
    assert chosen["WEBHOOK_SECRET"] != ""
    assert "chosen" not in (state.path / "secrets.env").read_text()


def test_secret_that_a_file_has_is_left_to_the_file(state: StateDirectory) -> None:
    assert "SECRET_KEY" not in state.secrets({"SECRET_KEY_FILE": "/run/secrets/key"})


def test_env_file_is_there_until_it_is_removed(state: StateDirectory) -> None:
    state.write_env({"A": "b"})

    state.remove_env()
    state.remove_env()

    assert not state.env_file.exists()


def test_secrets_are_for_their_owner_only(state: StateDirectory) -> None:
    state.secrets({})
    state.write_env({"A": "b"})

    assert [mode_of(state.path / name) for name in ("secrets.env", "env")] == [0o600, 0o600]


def test_key_of_the_terminal_is_unknown_at_first(state: StateDirectory) -> None:
    assert state.known_key() is None


def test_key_of_the_terminal_is_remembered_beside_the_secrets(state: StateDirectory) -> None:
    secrets = state.secrets({})
    state.remember_key("sk-solaris-abc")

    again = StateDirectory(state.path)

    assert again.known_key() == "sk-solaris-abc"
    assert secrets.items() <= again.secrets({}).items()


@pytest.mark.parametrize("value", ["plain", "with space", "a'b\"c", "$HOME `id`", "x=y#z", ""])
def test_env_file_gives_a_shell_the_very_value(state: StateDirectory, value: str) -> None:
    state.write_env({"VALUE": value})

    script = f'set -a; . {shlex.quote(str(state.env_file))}; printf %s "$VALUE"'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

    assert shown.stdout == value
