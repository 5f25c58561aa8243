from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.config.errors import ConfigurationError
from app.config.settings import (
    DEVELOPMENT_MASTER_KEY,
    DEVELOPMENT_SECRET_KEY,
    PROJECT_ROOT,
    Settings,
    load_settings,
)

DEVELOPMENT = {"ENVIRONMENT": "development"}
SECRETS = {
    "SECRET_KEY": "secret-key-0123456789abcdef",
    "ADMIN_API_KEY": "sk-admin-0123456789abcdef",
    "LITELLM_MASTER_KEY": "sk-master-0123456789abcdef",
    "WEBHOOK_SECRET": "webhook-0123456789abcdef",
    "AUDIT_HMAC_KEY": "audit-0123456789abcdef",
}
PRODUCTION = SECRETS | {"DATABASE_URL": "postgresql://solaris:pw@db/solaris"}


def problems_of(variables: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(variables)
    return [str(problem) for problem in caught.value.problems]


def develop(**variables: str) -> Settings:
    return load_settings(DEVELOPMENT | variables)


def secret_file(folder: Path, content: str | bytes, mode: int = 0o400) -> str:
    path = folder / "secret"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "staging"),
        ("LOCALE", "fr"),
        ("LOG_LEVEL", "loud"),
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("WORKERS", "0"),
        ("DRAIN_GRACE", "2"),
        ("FORWARDED_ALLOW_IPS", "nginx"),
        ("FORWARDED_ALLOW_IPS", "127.0.0.1, 10.0.0.1/8"),
        ("DATABASE_URL", "mysql://localhost/solaris"),
        ("MIGRATION_DATABASE_URL", "solaris"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_PORT", "six"),
        ("LITELLM_BASE_URL", "litellm:4000"),
        ("LITELLM_BASE_URL", "http://"),
        ("LITELLM_BASE_URL", "http://litellm:port"),
        ("LITELLM_BASE_URL", "http://[litellm"),
        ("LITELLM_TIMEOUT", "soon"),
        ("LITELLM_TIMEOUT", "0"),
        ("LITELLM_TIMEOUT", "nan"),
        ("LITELLM_MAX_RETRIES", "1.5"),
        ("LITELLM_RETRY_DELAY", "-1"),
    ],
)
def test_settings_with_a_bad_value_name_its_variable(name: str, value: str) -> None:
    (problem,) = problems_of(DEVELOPMENT | {name: value})

    assert problem.startswith(f"{name} ")


def test_settings_with_several_bad_values_report_all_together() -> None:
    problems = problems_of(DEVELOPMENT | {"PORT": "x", "LOCALE": "fr", "LITELLM_TIMEOUT": "0"})

    assert sorted(problem.split()[0] for problem in problems) == [
        "LITELLM_TIMEOUT",
        "LOCALE",
        "PORT",
    ]


def test_settings_in_production_report_bad_and_unsafe_values_together() -> None:
    problems = problems_of(PRODUCTION | {"PORT": "x", "SECRET_KEY": ""})

    assert {problem.split()[0] for problem in problems} == {"PORT", "SECRET_KEY"}


def test_settings_of_an_empty_environment_are_production_and_refused() -> None:
    problems = problems_of({})

    assert {problem.split()[0] for problem in problems} == {*SECRETS, "DATABASE_URL"}


def test_settings_without_environment_are_production() -> None:
    assert load_settings(PRODUCTION).is_production


def test_settings_of_development_need_nothing_else() -> None:
    assert not develop().is_production


def test_settings_with_blank_values_use_the_defaults() -> None:
    settings = develop(PORT=" ", LOCALE="", LITELLM_TIMEOUT="")

    assert (settings.server.port, settings.locale, settings.litellm.timeout_s) == (
        5000,
        "pt_BR",
        600.0,
    )


def test_settings_read_what_is_set() -> None:
    settings = develop(PORT="8080", LOCALE="en", LITELLM_RETRY_DELAY="0.25", SPOOL_DIR="/spool")

    assert settings.server.port == 8080
    assert settings.locale == "en"
    assert settings.litellm.retry_delay_s == 0.25
    assert settings.server.state_dir == Path("/spool")


def test_settings_base_url_loses_its_last_slash() -> None:
    assert develop(LITELLM_BASE_URL="http://ai:4000/").litellm.base_url == "http://ai:4000"


# Secrets


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "value", ["", "  ", "short", "sk-1234", "ChangeMe", DEVELOPMENT_SECRET_KEY]
)
def test_production_refuses_an_unsafe_secret_naming_it(name: str, value: str) -> None:
    (problem,) = problems_of(PRODUCTION | {name: value})

    assert problem.startswith(f"{name} ")


def test_production_refuses_the_development_master_key() -> None:
    (problem,) = problems_of(PRODUCTION | {"LITELLM_MASTER_KEY": DEVELOPMENT_MASTER_KEY})

    assert problem.startswith("LITELLM_MASTER_KEY ")


@pytest.mark.parametrize("name", ["OPENWEBUI_JWT_SECRET", "WEBHOOK_SECRET_PREVIOUS"])
def test_production_refuses_a_short_optional_secret(name: str) -> None:
    (problem,) = problems_of(PRODUCTION | {name: "short"})

    assert problem.startswith(f"{name} ")


def test_production_refuses_a_previous_webhook_secret_alone() -> None:
    variables = PRODUCTION | {"WEBHOOK_SECRET": "", "WEBHOOK_SECRET_PREVIOUS": "x" * 32}

    (problem,) = problems_of(variables)

    assert problem.startswith("WEBHOOK_SECRET must be set")


def test_production_refuses_the_default_database() -> None:
    (problem,) = problems_of(SECRETS)

    assert problem.startswith("DATABASE_URL ")


@pytest.mark.parametrize("name", ["DATABASE_URL", "MIGRATION_DATABASE_URL"])
@pytest.mark.parametrize("password", ["password", "Postgres", "p%61ssword"])
def test_production_refuses_a_publicly_known_password(name: str, password: str) -> None:
    url = f"postgresql://solaris:{password}@db/solaris"

    (problem,) = problems_of(PRODUCTION | {name: url})

    assert problem == f"{name} has a publicly known password; choose another"


def test_production_accepts_a_database_without_a_password() -> None:
    assert load_settings(PRODUCTION | {"DATABASE_URL": "postgresql:///solaris?host=/run"})


def test_production_refuses_the_example_wherever_it_is_left_as_it_was() -> None:
    example = (PROJECT_ROOT / ".env.example").read_text()
    left = dict(line.split("=", 1) for line in example.splitlines() if re.match("[A-Z]", line))

    refused = {problem.split()[0] for problem in problems_of(left)}

    assert refused == {*SECRETS, "DATABASE_URL"}


@pytest.mark.parametrize("value", ["*", "10.0.0.7", "127.0.0.1,::1, 10.0.0.0/8"])
def test_settings_believe_the_proxies_that_are_named(value: str) -> None:
    assert develop(FORWARDED_ALLOW_IPS=value).server.forwarded_allow_ips == value


def test_production_refusal_says_nothing_of_the_values() -> None:
    bad = {name: f"zz{number}zz" for number, name in enumerate(SECRETS)}

    with pytest.raises(ConfigurationError) as caught:
        load_settings(PRODUCTION | bad | {"DATABASE_URL": "mysql://u:hunter2@db"})

    assert not [value for value in (*bad.values(), "hunter2") if value in str(caught.value)]


def test_settings_repr_shows_no_secret() -> None:
    variables = PRODUCTION | {
        "WEBHOOK_SECRET_PREVIOUS": "former-0123456789abcdef",
        "OPENWEBUI_JWT_SECRET": "jwt-0123456789abcdef",
        "MIGRATION_DATABASE_URL": "postgresql://owner:owner-pw@db/solaris",
        "REDIS_URL": "redis://:redis-pw@cache",
    }

    shown = repr(load_settings(variables))

    hidden = [*SECRETS.values(), "former-", "jwt-", "solaris:pw", "owner-pw", "redis-pw"]
    assert not [secret for secret in hidden if secret in shown]


def test_audit_key_in_development_is_that_of_sessions() -> None:
    assert develop(SECRET_KEY="of-sessions").audit.hmac_keys == ("of-sessions",)


def test_audit_keys_are_the_present_one_and_every_former_one() -> None:
    settings = develop(AUDIT_HMAC_KEY="new", AUDIT_HMAC_KEY_PREVIOUS="old, older,")

    assert settings.audit.hmac_keys == ("new", "old", "older")


def test_webhook_secrets_with_a_previous_one_hold_both_newest_first() -> None:
    settings = develop(WEBHOOK_SECRET="new", WEBHOOK_SECRET_PREVIOUS="old")

    assert settings.security.webhook_secrets == ("new", "old")


# NAME_FILE


def test_secret_file_gives_the_secret_without_its_line_end(tmp_path: Path) -> None:
    settings = develop(SECRET_KEY_FILE=secret_file(tmp_path, "from-a-file\n"))

    assert settings.security.secret_key == "from-a-file"


def test_secret_file_gives_a_database_url(tmp_path: Path) -> None:
    settings = develop(DATABASE_URL_FILE=secret_file(tmp_path, "postgres://u:p@db/x"))

    assert settings.database.url == "postgresql+psycopg2://u:p@db/x"


def test_secret_file_together_with_its_variable_is_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "from-a-file")

    (problem,) = problems_of(DEVELOPMENT | {"SECRET_KEY": "direct", "SECRET_KEY_FILE": path})

    assert problem.startswith("SECRET_KEY is set together with SECRET_KEY_FILE")


def test_secret_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(DEVELOPMENT | {"ADMIN_API_KEY_FILE": str(tmp_path / "none")})

    assert problem == "ADMIN_API_KEY_FILE points at a file that cannot be read"


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_secret_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = str(tmp_path) if content is None else secret_file(tmp_path, content)

    (problem,) = problems_of(DEVELOPMENT | {"SECRET_KEY_FILE": path})

    assert problem == "SECRET_KEY_FILE points at a file that cannot be read"


def test_secret_file_that_is_empty_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(DEVELOPMENT | {"SECRET_KEY_FILE": secret_file(tmp_path, " \n")})

    assert problem == "SECRET_KEY_FILE points at an empty file"


def test_secret_file_that_everyone_may_read_is_refused_in_production(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "x" * 32, mode=0o444)
    variables = {name: value for name, value in PRODUCTION.items() if name != "SECRET_KEY"}

    (problem,) = problems_of(variables | {"SECRET_KEY_FILE": path})

    assert problem.startswith("SECRET_KEY_FILE points at a file that everyone may read")


def test_secret_file_that_everyone_may_read_is_accepted_in_development(tmp_path: Path) -> None:
    settings = develop(SECRET_KEY_FILE=secret_file(tmp_path, "x" * 32, mode=0o444))

    assert settings.security.secret_key == "x" * 32


# Addresses


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_database_url_of_any_postgres_scheme_names_the_driver(scheme: str) -> None:
    settings = develop(DATABASE_URL=f"{scheme}://u:p@db:5432/x?sslmode=require")

    assert settings.database.url == "postgresql+psycopg2://u:p@db:5432/x?sslmode=require"


def test_migration_url_unset_is_the_database_url() -> None:
    settings = develop(DATABASE_URL="postgresql://u:p@db/x")

    assert settings.database.migration_url == settings.database.url


def test_redis_unset_is_none() -> None:
    assert develop(REDIS_PORT="6380", REDIS_PASSWORD="pw").redis.url is None


def test_redis_host_alone_gives_the_default_port() -> None:
    assert develop(REDIS_HOST="cache").redis.url == "redis://cache:6379/0"


def test_redis_parts_make_a_url_with_the_password_quoted() -> None:
    settings = develop(REDIS_HOST="cache", REDIS_PORT="6380", REDIS_PASSWORD="p@ss/w:rd#?")

    assert settings.redis.url == "redis://:p%40ss%2Fw%3Ard%23%3F@cache:6380/0"


def test_redis_url_wins_over_its_parts() -> None:
    settings = develop(REDIS_URL="rediss://other/1", REDIS_HOST="cache")

    assert settings.redis.url == "rediss://other/1"
