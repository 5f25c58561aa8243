"""`solaris …` as a process: what it prints where, and how it ends."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import create_engine, make_url, text

from app.cli import cli, main
from app.config.settings import PROJECT_ROOT, Settings
from app.embedded.network import free_port
from app.services.key_format import is_well_formed
from app.version import __version__
from tests.servers import environment_of, run_solaris

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    return environment_of(settings, free_port())


@pytest.fixture
def solaris(environment: dict[str, str]) -> Run:
    """Run a command as a process of its own: ``solaris("keys", "list", DATABASE_URL=…)``."""
    return lambda *arguments, **variables: run_solaris(environment | variables, *arguments)


@pytest.fixture
def same_log() -> Iterator[None]:
    """Leave the log as it was: a command makes it its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def solaris_here(environment: dict[str, str], same_log: None) -> Run:
    """Run a command in this process, which is quicker."""

    def run(*arguments: str) -> Done:
        result = CliRunner().invoke(cli, arguments, env=environment)
        return Done(arguments, result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def empty_database(database_url: str) -> Iterator[str]:
    """A database in which nothing was ever done."""
    name = f"empty_{uuid4().hex}"
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(database_url).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def listed(done: Done) -> list[dict[str, Any]]:
    rows = json.loads(done.stdout)
    assert isinstance(rows, list)
    return rows


# --- keys ----------------------------------------------------------------------------------------


def test_keys_create_prints_the_key_alone_on_standard_output(solaris: Run) -> None:
    done = solaris("keys", "create", "librechat")

    assert done.returncode == 0
    assert is_well_formed(done.stdout.removesuffix("\n"))
    assert done.stdout.strip() not in done.stderr
    assert "librechat" in done.stderr


@pytest.mark.parametrize("arguments", [["*"], ["a", "--user", "*"], ["a", "--team", ""]])
def test_keys_create_for_nobody_that_can_be_named_is_refused(
    solaris_here: Run, arguments: list[str]
) -> None:
    done = solaris_here("keys", "create", *arguments)

    assert (done.returncode, listed(solaris_here("keys", "list", "--json"))) == (2, [])


def test_key_created_is_good_for_a_call(solaris_here: Run, client: FlaskClient) -> None:
    key = solaris_here("keys", "create", "librechat").stdout.splitlines()[-1]

    response = client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})

    assert response.status_code == 200


def test_keys_list_tells_what_keys_were_made_with(solaris_here: Run) -> None:
    options = "--user ana --team vendas --trusted --models gpt-4o,gpt-4 --role viewer"
    key = solaris_here("keys", "create", "a", *options.split(), "--expires-in-days", "30").stdout

    row = listed(solaris_here("keys", "list", "--json"))[0]

    expires_in = datetime.fromisoformat(row.pop("expires_at")) - datetime.now(UTC)
    created_ago = datetime.now(UTC) - datetime.fromisoformat(row.pop("created_at"))
    assert timedelta(days=29, hours=23) < expires_in <= timedelta(days=30)
    assert timedelta(0) <= created_ago < timedelta(minutes=5)
    assert row == {
        "id": 1,
        "name": "a",
        "prefix": key[:17],
        "user": "ana",
        "team": "vendas",
        "role": "viewer",
        "trusted": True,
        "models": ["gpt-4", "gpt-4o"],
        "replaced_at": None,
        "revoked_at": None,
    }


def test_keys_list_with_no_keys_is_an_empty_array(solaris_here: Run) -> None:
    done = solaris_here("keys", "list", "--json")

    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_keys_list_for_people_is_a_table_without_keys(solaris_here: Run) -> None:
    key = solaris_here("keys", "create", "librechat", "--team", "vendas").stdout.strip()

    done = solaris_here("keys", "list")

    head, row = done.stdout.splitlines()
    assert head.split()[:3] == ["id", "nome", "prefixo"]
    assert row.split()[:5] == ["1", "librechat", key[:17], "-", "vendas"]
    assert key not in done.stdout


def test_keys_revoke_takes_the_key_off_the_list(solaris_here: Run) -> None:
    solaris_here("keys", "create", "librechat")

    done = solaris_here("keys", "revoke", "librechat")

    assert (done.returncode, done.stdout) == (0, "revogada: 1 (librechat)\n")
    assert listed(solaris_here("keys", "list", "--json")) == []
    revoked = listed(solaris_here("keys", "list", "--all", "--json"))
    assert [row["revoked_at"] is not None for row in revoked] == [True]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["keys", "revoke", "nobody"], 1, "nobody"),
        (["keys", "create", "a", "--models", "gpt-4,gpt-9"], 2, "gpt-9"),
        (["keys", "create", "a", "--models", " , "], 2, "--models"),
        (["keys", "create", " "], 2, "name: valor inválido"),
        (["keys", "create", "a", "--role", "king"], 2, "king"),
        (["keys", "create", "a", "--expires-in-days", "0"], 2, "--expires-in-days"),
        (["keys", "create"], 2, "NAME"),
        (["keys", "rename"], 2, "rename"),
    ],
)
def test_command_that_cannot_be_done_says_why(
    solaris_here: Run, arguments: list[str], code: int, words: str
) -> None:
    done = solaris_here(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_create_with_a_name_in_use_says_so(solaris_here: Run) -> None:
    solaris_here("keys", "create", "librechat")

    done = solaris_here("keys", "create", "librechat")

    assert (done.returncode, done.stdout) == (1, "")
    assert "já existe uma chave ativa com o nome librechat" in done.stderr


def test_keys_revoke_of_two_keys_at_once_is_refused(solaris_here: Run) -> None:
    solaris_here("keys", "create", "librechat")
    solaris_here("keys", "create", "1")

    done = solaris_here("keys", "revoke", "1")

    assert done.returncode == 1
    assert "mais de uma chave" in done.stderr


def test_keys_commands_speak_english_where_it_is_asked_for(solaris: Run) -> None:
    created = solaris("keys", "create", "librechat", "--trusted", LOCALE="en")
    listed_here = solaris("keys", "list", LOCALE="en")
    unknown = solaris("keys", "revoke", "nobody", LOCALE="en")

    assert created.stderr == "Key 1 (librechat) is shown this once; only its hash is kept.\n"
    assert listed_here.stdout.split()[:3] == ["id", "name", "prefix"]
    assert " yes " in listed_here.stdout
    assert unknown.stderr == "solaris: no live key answers to nobody\n"


# --- budgets -------------------------------------------------------------------------------------

# Shipped in database/litellm-config.yaml; the last two are the seed's router's.
SHIPPED = {
    ("global", "", "cost", "month", "enforce", 1_000_000_000),
    ("model", "gpt-4", "requests", "minute", "enforce", 100),
    ("model", "gpt-4", "tokens", "minute", "enforce", 50_000),
    ("model", "claude-3-opus", "requests", "minute", "enforce", 50),
    ("model", "claude-3-opus", "tokens", "minute", "enforce", 25_000),
    ("global", "", "requests", "minute", "shadow", 1_000),
    ("global", "", "tokens", "minute", "shadow", 500_000),
}
ANA = ("--scope", "user", "--subject", "ana", "--metric", "cost", "--period", "day")


def places(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    names = ("scope", "subject", "metric", "period", "mode", "limit")
    return {tuple(row[name] for name in names) for row in rows}


def test_budgets_list_of_a_new_database_has_what_is_shipped(solaris_here: Run) -> None:
    rows = listed(solaris_here("budgets", "list", "--json"))

    assert places(rows) == SHIPPED
    assert all(row["left"] == row["limit"] and not row["posted"] for row in rows)


def test_budgets_set_makes_a_budget_and_changes_it(solaris_here: Run) -> None:
    solaris_here("budgets", "set", *ANA, "--limit", "5000000")
    changed = solaris_here("budgets", "set", *ANA, "--limit", "7", "--shadow")

    rows = listed(solaris_here("budgets", "list", "--json"))
    assert changed.returncode == 0
    assert places(rows) - SHIPPED == {("user", "ana", "cost", "day", "shadow", 7)}


def test_budgets_remove_takes_one_away_for_good_be_it_shipped(solaris_here: Run) -> None:
    place = ("--scope", "model", "--subject", "gpt-4", "--metric", "tokens", "--period", "minute")

    removed = solaris_here("budgets", "remove", *place)

    left = places(listed(solaris_here("budgets", "list", "--json")))
    assert removed.returncode == 0
    assert left == SHIPPED - {("model", "gpt-4", "tokens", "minute", "enforce", 50_000)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "--scope", "global", "--subject", "x"), "--subject"),
        (("set", "--scope", "user"), "--subject"),
        (("set", "--scope", "model", "--subject", "gpt-9"), "--subject"),
        (("remove", "--scope", "user", "--subject", "ana"), "solaris budgets list"),
    ],
)
def test_budgets_command_about_what_is_not_there_says_so(
    solaris_here: Run, arguments: tuple[str, ...], said: str
) -> None:
    limit = ("--limit", "1") if arguments[0] == "set" else ()

    done = solaris_here("budgets", *arguments, "--metric", "cost", "--period", "day", *limit)

    assert done.returncode == 2
    assert said in done.stderr


# --- people and teams ----------------------------------------------------------------------------


def test_users_set_makes_a_person_and_changes_them(solaris_here: Run) -> None:
    made = solaris_here("users", "set", "ana", "--team", "vendas", "--email", "ana@x.br")
    changed = solaris_here("users", "set", "ana", "--team", "ti", "--name", "Ana Souza")

    (row,) = listed(solaris_here("users", "list", "--json"))
    assert (made.returncode, made.stdout, changed.returncode) == (0, "", 0)
    assert ("criada" in made.stderr, "alterada" in changed.stderr) == (True, True)
    assert datetime.fromisoformat(row.pop("created_at")) <= datetime.now(UTC)
    assert row == {
        "id": "ana",
        "name": "Ana Souza",
        "email": "ana@x.br",
        "role": None,
        "team": "ti",
        "team_assigned": True,
        "first_key": None,
        "first_seen_at": None,
        "last_seen_at": None,
    }


def test_users_set_with_nothing_in_it_takes_the_fact_away(solaris_here: Run) -> None:
    solaris_here("users", "set", "ana", "--team", "ti", "--name", "Ana")
    solaris_here("users", "set", "ana", "--team", "")

    (row,) = listed(solaris_here("users", "show", "ana", "--json"))
    assert (row["team"], row["team_assigned"], row["name"]) == (None, False, "Ana")


def test_users_list_for_people_is_a_table(solaris_here: Run) -> None:
    solaris_here("users", "set", "ana", "--team", "ti")
    solaris_here("users", "set", "bob", "--team", "vendas", "--name", "Bob")

    head, row = solaris_here("users", "list", "--team", "vendas").stdout.splitlines()

    assert head.split()[:5] == ["id", "nome", "e-mail", "equipe", "atribuída"]
    assert row.split() == ["bob", "Bob", "-", "vendas", "sim", "-", "-"]


def test_users_show_has_a_line_for_each_fact(solaris_here: Run) -> None:
    solaris_here("users", "set", "ana", "--name", "Ana Souza")

    lines = solaris_here("users", "show", "ana").stdout.splitlines()

    assert lines[:2] == ["id                ana", "nome              Ana Souza"]
    assert "equipe            -" in lines


def test_teams_set_names_a_team_or_makes_it(solaris_here: Run) -> None:
    solaris_here("users", "set", "ana", "--team", "vendas")
    changed = solaris_here("teams", "set", "vendas", "--name", "Vendas Brasil")
    made = solaris_here("teams", "set", "rh", "--name", "")

    rows = listed(solaris_here("teams", "list", "--json"))
    table = solaris_here("teams", "list").stdout.splitlines()
    assert (changed.returncode, made.returncode) == (0, 0)
    assert ("alterada" in changed.stderr, "criada" in made.stderr) == (True, True)
    assert [{**row, "created_at": None} for row in rows] == [
        {"id": "rh", "name": None, "people": 0, "created_at": None},
        {"id": "vendas", "name": "Vendas Brasil", "people": 1, "created_at": None},
    ]
    assert table[0].split() == ["id", "nome", "pessoas", "registrada"]
    assert table[2].split()[:4] == ["vendas", "Vendas", "Brasil", "1"]


@pytest.mark.parametrize("group", ["users", "teams"])
def test_list_of_nobody_is_an_empty_array(solaris_here: Run, group: str) -> None:
    done = solaris_here(group, "list", "--json")

    assert (done.returncode, done.stdout) == (0, "[]\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("users", "show", "nobody"), 1, "nobody"),
        (("users", "set", "ana"), 2, "--team, --name, --email"),
        (("users", "set", " ana", "--team", "ti"), 2, "id: valor inválido"),
        (("users", "set", "ana", "--email", "ana"), 2, "email: valor inválido"),
        (("users", "set", "ana", "--team", "t" * 257), 2, "team: valor inválido"),
        (("teams", "set", "", "--name", "x"), 2, "id: valor inválido"),
        (("teams", "set", "ti", "--name", "n" * 257), 2, "name: valor inválido"),
        (("teams", "set", "ti"), 2, "--name"),
    ],
)
def test_command_about_people_that_cannot_be_done_says_why(
    solaris_here: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = solaris_here(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert listed(solaris_here("users", "list", "--json")) == []


# --- db ------------------------------------------------------------------------------------------


def test_db_upgrade_of_an_empty_database_leaves_no_drift(solaris: Run, empty_database: str) -> None:
    upgraded = solaris("db", "upgrade", DATABASE_URL=empty_database)

    checked = solaris("db", "check", DATABASE_URL=empty_database)

    assert (upgraded.returncode, checked.returncode) == (0, 0), upgraded.stderr + checked.stderr


def test_db_upgrade_twice_changes_nothing(solaris: Run, empty_database: str) -> None:
    codes = [solaris("db", "upgrade", DATABASE_URL=empty_database).returncode for _ in range(2)]

    assert codes == [0, 0]


def test_db_check_notices_drift(solaris: Run, empty_database: str) -> None:
    solaris("db", "upgrade", DATABASE_URL=empty_database)
    engine = create_engine(empty_database)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE api_keys DROP COLUMN team_id"))
    engine.dispose()

    done = solaris("db", "check", DATABASE_URL=empty_database)

    assert done.returncode != 0
    assert "team_id" in done.stdout + done.stderr


# --- litellm-config ------------------------------------------------------------------------------


SAFE = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://solaris:a-good-word@db/solaris",
    "SECRET_KEY": "s" * 32,
    "ADMIN_API_KEY": "a" * 32,
    "LITELLM_MASTER_KEY": "m" * 32,
    "WEBHOOK_SECRET": "w" * 32,
    "AUDIT_HMAC_KEY": "h" * 32,
}


def test_litellm_config_in_production_has_no_invented_answers(tmp_path: Path) -> None:
    written = tmp_path / "litellm.yaml"
    keys = {"OPENAI_API_KEY": "sk-real-key", "REDIS_HOST": "cache"}

    done = run_solaris(SAFE | keys, "litellm-config", "--output", str(written))

    config = yaml.safe_load(written.read_text())
    assert (done.returncode, done.stdout) == (0, "")
    assert "solaris" not in config
    assert config["litellm_settings"]["cache"] is True
    assert "mock_response" not in written.read_text()
    assert "sk-real-key" not in written.read_text()
    assert "claude-3-opus" in done.stderr
    assert "ANTHROPIC_API_KEY, GOOGLE_API_KEY" in done.stderr
    assert f"{written}: configuração do LiteLLM, com redis-cache" in done.stderr


def test_litellm_config_of_development_goes_to_standard_output() -> None:
    done = run_solaris({"ENVIRONMENT": "development", "LOCALE": "en"}, "litellm-config")

    config = yaml.safe_load(done.stdout)
    assert config["model_list"][0]["litellm_params"]["mock_response"].startswith("Hello!")
    assert "answer with a mocked text: gpt-4, " in done.stderr


def test_litellm_config_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none" / "litellm.yaml")

    done = run_solaris({"ENVIRONMENT": "development"}, "litellm-config", "--output", nowhere)

    assert done.returncode == 1
    assert done.stderr == f"solaris: {nowhere} não pode ser gravado: No such file or directory\n"


# --- when it cannot work -------------------------------------------------------------------------


def test_command_without_postgres_says_so(solaris: Run) -> None:
    nowhere = f"postgresql://user:s3cret-word@127.0.0.1:{free_port()}/none"

    done = solaris("keys", "list", "--json", DATABASE_URL=nowhere)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "solaris: o Postgres (DATABASE_URL) não pôde ser alcançado: Connection refused\n"
    )


def test_db_upgrade_without_postgres_is_one_sentence(solaris: Run) -> None:
    nowhere = f"postgresql://user:s3cret-word@127.0.0.1:{free_port()}/none"

    done = solaris("db", "upgrade", MIGRATION_DATABASE_URL=nowhere, LOCALE="en")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "solaris: Postgres (MIGRATION_DATABASE_URL) cannot be reached: Connection refused\n"
    )


def test_command_without_configuration_names_what_make_run_left(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    same_log: None,
) -> None:
    left = tmp_path / "Meus Projetos" / "env"
    left.parent.mkdir()
    left.touch()
    monkeypatch.setattr("app.cli.RUNNING_ENV", left)
    monkeypatch.setattr("sys.argv", ["solaris", "keys", "list"])
    for name in environment_of(Settings(), 5000):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(SystemExit):
        main()

    assert capsys.readouterr().err.splitlines()[-1].endswith(f"set -a; . '{left}'; set +a")


def test_command_before_the_migrations_names_what_to_do(solaris: Run, empty_database: str) -> None:
    done = solaris("keys", "list", DATABASE_URL=empty_database)

    assert (done.returncode, done.stdout) == (1, "")
    assert "solaris db upgrade" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["keys", "list"], ["serve"], ["drain"]])
def test_command_with_a_wrong_variable_names_it(solaris: Run, command: list[str]) -> None:
    done = solaris(*command, DRAIN_GRACE="soon", LOCALE="klingon")

    assert (done.returncode, done.stdout) == (2, "")
    assert "DRAIN_GRACE deve ser um número inteiro" in done.stderr
    assert "LOCALE deve ser um destes valores: pt_BR, en" in done.stderr
    assert "Traceback" not in done.stderr


def test_command_in_production_with_weak_secrets_is_refused(solaris: Run) -> None:
    done = solaris("serve", ENVIRONMENT="production", SECRET_KEY="changeme", ADMIN_API_KEY="")

    assert done.returncode == 2
    assert "SECRET_KEY" in done.stderr
    assert "ADMIN_API_KEY" in done.stderr
    assert "changeme" not in done.stderr


@pytest.mark.parametrize("after_s", [0.1, 0.2, 0.4])
def test_command_interrupted_while_it_loads_shows_no_traceback(after_s: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "--help"],
        cwd=PROJECT_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)

    _, said = process.communicate(timeout=30)

    # -2: before the first line of ours was reached.
    assert b"Traceback" not in said or process.returncode == -2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "IA SOLARIS Proxy"),
        (["--version"], __version__),
        (["keys", "--help"], "revoke"),
    ],
)
def test_help_needs_no_configuration(arguments: list[str], words: str) -> None:
    done = run_solaris({}, *arguments)

    assert done.returncode == 0
    assert words in done.stdout
