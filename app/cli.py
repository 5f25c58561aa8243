"""`solaris`: the product's command line, on Flask's own.

Results go to standard output, logs and notes to standard error; `--json` prints one JSON array.
"""

from __future__ import annotations

import logging.config
import os
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import orjson
import yaml
from flask.cli import ScriptInfo, with_appcontext
from flask_migrate.cli import db as db_commands
from sqlalchemy.exc import ProgrammingError

from app import create_app
from app.config.catalog import load_catalog
from app.config.commands import (
    BUDGET_COLUMNS,
    KEY_COLUMNS,
    PERSON_COLUMNS,
    TEAM_COLUMNS,
    command_text,
)
from app.config.errors import ConfigurationError
from app.config.problems import locale_of
from app.config.settings import PROJECT_ROOT, load_settings
from app.extensions import access, catalog, readiness
from app.extensions import budgets as budget_service
from app.extensions import people as people_service
from app.ledger.periods import PERIODS
from app.ledger.rules import METRICS, SCOPES
from app.services.access_service import ROLES
from app.services.budget_service import BudgetNotFoundError, UnknownSubjectError
from app.services.identity import InvalidFactError
from app.services.key_store import (
    KeyAmbiguousError,
    KeyNameTakenError,
    KeyNotFoundError,
    KeyRecord,
)
from app.services.people_store import PersonNotFoundError
from app.utils.exceptions import DatabaseUnavailableError
from app.utils.json_logging import logging_config
from app.utils.postgres_faults import why_unreachable
from app.version import __version__

# Left by `make run` while it runs.
RUNNING_ENV = PROJECT_ROOT / "var" / "env"
# What a table of people has room for; `users show` and `--json` have everything.
LISTED_OF_PEOPLE = (
    "id",
    "name",
    "email",
    "team",
    "team_assigned",
    "first_seen_at",
    "last_seen_at",
)
DB_COMMANDS = frozenset({"upgrade", "downgrade", "check", "current", "history", "revision"})


@click.group()
@click.version_option(__version__, prog_name="solaris")
@click.pass_context
def cli(context: click.Context) -> None:
    """IA SOLARIS Proxy."""
    # Not Flask's own group: that one builds the application even to print the help.
    context.obj = ScriptInfo(create_app=create_app, set_debug_flag=False)
    # What went wrong is told in a sentence; a log line before it would say the same, as JSON.
    logging.config.dictConfig(logging_config("ERROR"))


def _hide_what_is_not_ours(db: click.Group) -> None:
    """Leave out of the help what makes a project or bends its history, and another's default."""
    for name, command in db.commands.items():
        command.hidden = name not in DB_COMMANDS
    for command in (db, *db.commands.values()):
        for option in command.params:
            if isinstance(option, click.Option) and option.name == "directory":
                option.hidden = True


_hide_what_is_not_ours(db_commands)
cli.add_command(db_commands)


def main() -> None:
    """Run the command line; configuration that cannot be used ends it with exit 2."""
    try:
        cli(standalone_mode=True)
    except ConfigurationError as error:
        _say_unusable(error)
        if RUNNING_ENV.exists() and not os.environ.get("ENVIRONMENT"):
            _say(_text("use_running", path=shlex.quote(str(RUNNING_ENV))))
        sys.exit(2)
    except DatabaseUnavailableError as error:
        _say(f"solaris: {_database_problem(error)}")
        sys.exit(1)


class CommandError(click.ClickException):
    """What the person asked for cannot be done."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(_text(key, **values))

    def show(self, file: Any = None) -> None:
        click.echo(f"solaris: {self.format_message()}", file=file, err=True)


class WrongUsageError(CommandError):
    """What the person typed cannot be meant."""

    exit_code = 2


def _say_unusable(error: ConfigurationError) -> None:
    _say(f"solaris: {_text('unusable')}\n{error.text(locale_of(os.environ))}")


def _text(key: str, **values: object) -> str:
    # Of the environment, not of the settings: they may be what is wrong.
    return command_text(key, locale_of(os.environ), **values)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _database_problem(error: DatabaseUnavailableError) -> str:
    if isinstance(error.__cause__, ProgrammingError):
        return _text("tables_missing")
    variable = error.values.get("variable", "DATABASE_URL")
    return _text("database_away", variable=variable, reason=why_unreachable(error.__cause__))


@cli.command()
def serve() -> None:
    """Serve the proxy under gunicorn, as in production."""
    # Read here first: a wrong value then shows as a sentence, not as gunicorn's traceback.
    load_settings()
    os.chdir(PROJECT_ROOT)
    gunicorn = Path(sys.executable).with_name("gunicorn")
    os.execv(gunicorn, [str(gunicorn), "--config", "gunicorn.conf.py"])  # noqa: S606  # no shell is meant


@cli.command()
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    default=PROJECT_ROOT / "var",
    show_default=True,
    help="Data, logs and secrets of this machine.",
)
def run(state_dir: Path) -> None:
    """Start everything on this machine: Postgres, Valkey, LiteLLM and the proxy."""
    from app.embedded.stack import run_stack

    try:
        sys.exit(run_stack(state_dir))
    except ConfigurationError as error:
        _say_unusable(error)
        sys.exit(2)


@cli.command("litellm-config")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output."
)
@click.option(
    "--litellm-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=PROJECT_ROOT / "var" / "litellm-venv",
    show_default=True,
    help="LiteLLM's virtual environment; packages in it switch options on.",
)
def litellm_config(output: Path | None, litellm_dir: Path) -> None:
    """Write the configuration that LiteLLM starts with in this environment."""
    from app.embedded.litellm_config import render, to_yaml
    from app.embedded.litellm_server import LiteLLMEnvironment

    settings = load_settings()
    load_catalog(settings.litellm.config_path)
    rendered = render(
        yaml.safe_load(settings.litellm.config_path.read_text(encoding="utf-8")),
        os.environ,
        LiteLLMEnvironment(litellm_dir).has_package,
        # In production an invented answer would be taken for a model's own.
        mock_locale=None if settings.is_production else settings.locale,
    )
    _write(output, to_yaml(rendered.config))
    if rendered.keyless:
        key = "models_without_key" if settings.is_production else "models_mocked"
        variables = ", ".join(dict.fromkeys(rendered.keyless.values()))
        _say(_text(key, names=", ".join(rendered.keyless), variables=variables))
    if output:
        switched_on = ", ".join(rendered.switched_on) or _text("nothing_switched_on")
        _say(_text("config_written", path=output, switched_on=switched_on))


def _write(output: Path | None, text: str) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise CommandError("cannot_write", path=output, reason=fault.strerror) from fault


@cli.command()
@click.option("--off", is_flag=True, help="Take requests again.")
@with_appcontext
def drain(off: bool) -> None:
    """Turn /readyz to 503, so that load balancers send this machine no more requests."""
    readiness.drain(on=not off)
    click.echo("ready" if off else "draining")


@cli.group()
def keys() -> None:
    """API keys: create, list, revoke."""


@keys.command("create")
@click.argument("name")
@click.option("--user", help="The person the key belongs to.")
@click.option("--team", help="The department the key belongs to.")
@click.option("--trusted", is_flag=True, help="May name the person behind each call (LibreChat).")
@click.option("--models", help="Allowed models and groups, separated by commas. Default: all.")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True)
@click.option("--expires-in-days", type=click.IntRange(min=1), help="Default: never.")
@with_appcontext
def create_key(
    name: str,
    user: str | None,
    team: str | None,
    trusted: bool,
    models: str | None,
    role: str,
    expires_in_days: int | None,
) -> None:
    """Create a key and print it, once, alone on the last line."""
    expires_at = _days_from_now(expires_in_days) if expires_in_days else None
    try:
        key, record = access.create_key(
            name.strip(),
            user_id=user,
            team_id=team,
            trusted=trusted,
            allowed_models=_model_names(models),
            role=role,
            expires_at=expires_at,
        )
    except KeyNameTakenError:
        raise CommandError("name_taken", name=name) from None
    except InvalidFactError as error:
        raise WrongUsageError("bad_fact", fact=error) from None
    _say(_text("key_made", id=record.id, name=record.name))
    click.echo(key)


@keys.command("list")
@click.option("--all", "include_revoked", is_flag=True, help="Revoked keys too.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_keys(include_revoked: bool, as_json: bool) -> None:
    """List keys by prefix; the keys themselves are stored nowhere."""
    rows = [_key_row(record) for record in access.list_keys(include_revoked=include_revoked)]
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows, KEY_COLUMNS)


@keys.command("revoke")
@click.argument("reference", metavar="NAME|PREFIX|ID")
@with_appcontext
def revoke_key(reference: str) -> None:
    """Revoke a key; every worker refuses it within 5 seconds."""
    try:
        record = access.revoke_key(reference)
    except KeyNotFoundError:
        raise CommandError("key_unknown", reference=reference) from None
    except KeyAmbiguousError:
        raise CommandError("key_ambiguous", reference=reference) from None
    click.echo(_text("key_revoked", id=record.id, name=record.name))


@cli.group()
def budgets() -> None:
    """Budgets and rate limits: set, list."""


@budgets.command("set")
@click.option("--scope", type=click.Choice(SCOPES), required=True)
@click.option("--subject", default="", help="Whose it is; * for each who has none of their own.")
@click.option("--metric", type=click.Choice(METRICS), required=True)
@click.option("--period", type=click.Choice(PERIODS), required=True)
@click.option("--limit", type=click.IntRange(min=0), required=True, help="Money in micro-USD.")
@click.option("--shadow", is_flag=True, help="Only report who would have been refused.")
@with_appcontext
def set_budget(
    scope: str, subject: str, metric: str, period: str, limit: int, shadow: bool
) -> None:
    """Create a budget or change it; every worker obeys within 2 seconds."""
    mode = "shadow" if shadow else "enforce"
    try:
        budget = budget_service.set(
            scope=scope, subject=subject, metric=metric, period=period, limit=limit, mode=mode
        )
    except UnknownSubjectError:
        raise WrongUsageError("bad_subject") from None
    _say(_text("budget_set", id=budget.id))


@budgets.command("remove")
@click.option("--scope", type=click.Choice(SCOPES), required=True)
@click.option("--subject", default="")
@click.option("--metric", type=click.Choice(METRICS), required=True)
@click.option("--period", type=click.Choice(PERIODS), required=True)
@with_appcontext
def remove_budget(scope: str, subject: str, metric: str, period: str) -> None:
    """Take a budget away; what was spent on it stays recorded."""
    try:
        budget_service.remove(scope=scope, subject=subject, metric=metric, period=period)
    except BudgetNotFoundError:
        raise WrongUsageError("no_such_budget") from None
    _say(_text("budget_removed"))


@budgets.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_budgets(as_json: bool) -> None:
    """List budgets with what is posted, pending and left, and when they renew."""
    rows = [state.as_dict() for state in budget_service.states()]
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows, BUDGET_COLUMNS)


@cli.group()
def users() -> None:
    """People: list, show, set. They appear by themselves when a key first names them."""


@users.command("list")
@click.option("--team", help="Only who is in this team.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_users(team: str | None, as_json: bool) -> None:
    """List people, their teams and when they called; times in UTC."""
    rows = people_service.people(team)
    if as_json:
        _print_json(rows)
    else:
        _print_table(
            [{name: row[name] for name in LISTED_OF_PEOPLE} for row in rows], PERSON_COLUMNS
        )


@users.command("show")
@click.argument("person", metavar="ID")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def show_user(person: str, as_json: bool) -> None:
    """Show all that is known of a person; times in UTC."""
    try:
        row = people_service.person(person)
    except PersonNotFoundError:
        raise CommandError("user_unknown", id=person) from None
    if as_json:
        _print_json([row])
    else:
        _print_facts(row, PERSON_COLUMNS)


@users.command("set")
@click.argument("person", metavar="ID")
@click.option("--team", help="Stands before the team that clients name; '' takes it away.")
@click.option("--name", help="'' leaves it to clients again.")
@click.option("--email", help="'' leaves it to clients again.")
@with_appcontext
def set_user(person: str, **given: str | None) -> None:
    """Say who a person is; their team binds everywhere within 5 seconds.

    Somebody who has not called yet is made; ID is what the trusted key will name them.
    """
    changes = {fact: value for fact, value in given.items() if value is not None}
    if not changes:
        raise WrongUsageError("nothing_to_set", options="--team, --name, --email")
    try:
        is_new = people_service.set_person(person, changes)
    except InvalidFactError as error:
        raise WrongUsageError("bad_fact", fact=error) from None
    _say(_text("user_made" if is_new else "user_changed", id=person))


@cli.group()
def teams() -> None:
    """Teams: list, set. They appear by themselves when they are first named."""


@teams.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_teams(as_json: bool) -> None:
    """List teams and how many people are in each; times in UTC."""
    rows = people_service.teams()
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows, TEAM_COLUMNS)


@teams.command("set")
@click.argument("team", metavar="ID")
@click.option("--name", required=True, help="What people call it; '' for nothing but its id.")
@with_appcontext
def set_team(team: str, name: str) -> None:
    """Name a team, or make one before anybody is in it."""
    try:
        is_new = people_service.set_team(team, name)
    except InvalidFactError as error:
        raise WrongUsageError("bad_fact", fact=error) from None
    _say(_text("team_made" if is_new else "team_changed", id=team))


def _days_from_now(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _model_names(listed: str | None) -> list[str] | None:
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if not names:
        raise WrongUsageError("empty_models")
    if unknown := [name for name in names if name not in catalog]:
        raise WrongUsageError("unknown_models", names=", ".join(unknown))
    return names


def _key_row(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "prefix": record.prefix,
        "user": record.user_id,
        "team": record.team_id,
        "role": record.role,
        "trusted": record.trusted,
        "models": sorted(record.allowed_models) if record.allowed_models is not None else None,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
    }


def _print_json(rows: list[dict[str, Any]]) -> None:
    click.echo(orjson.dumps(rows).decode())


def _print_facts(row: dict[str, Any], heads: dict[str, dict[str, str]]) -> None:
    columns = heads[locale_of(os.environ)]
    width = max(len(columns[name]) for name in row)
    for name, value in row.items():
        click.echo(f"{columns[name]:<{width}}  {_cell(value)}")


def _print_table(rows: list[dict[str, Any]], heads: dict[str, dict[str, str]]) -> None:
    if not rows:
        _say(_text("no_keys"))
        return
    columns = heads[locale_of(os.environ)]
    cells = [[columns[name] for name in rows[0]]] + [
        [_cell(value) for value in row.values()] for row in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, bool):
        return _text("yes" if value else "no")
    return ",".join(value) if isinstance(value, list) else str(value)
