"""`solaris`: the product's command line, on Flask's own.

Results go to standard output, logs and notes to standard error; `--json` prints one JSON array.
"""

from __future__ import annotations

import logging.config
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import orjson
from flask.cli import ScriptInfo, with_appcontext
from flask_migrate.cli import db as db_commands
from sqlalchemy.exc import ProgrammingError

from app import create_app
from app.config.errors import ConfigurationError
from app.config.settings import PROJECT_ROOT, load_settings
from app.extensions import access, catalog, readiness
from app.extensions import budgets as budget_service
from app.ledger.periods import PERIODS
from app.ledger.rules import METRICS, SCOPES
from app.services.access_service import ROLES
from app.services.budget_service import UnknownSubjectError
from app.services.key_store import KeyNameTakenError, KeyNotFoundError, KeyRecord
from app.utils.exceptions import DatabaseUnavailableError
from app.utils.json_logging import logging_config
from app.version import __version__


@click.group()
@click.version_option(__version__, prog_name="solaris")
@click.pass_context
def cli(context: click.Context) -> None:
    """IA SOLARIS Proxy."""
    # Not Flask's own group: that one builds the application even to print the help.
    context.obj = ScriptInfo(create_app=create_app, set_debug_flag=False)
    logging.config.dictConfig(logging_config("WARNING"))


cli.add_command(db_commands)


def main() -> None:
    """Run the command line; configuration that cannot be used ends it with exit 2."""
    try:
        cli(standalone_mode=True)
    except ConfigurationError as error:
        click.echo(f"solaris: the configuration cannot be used:\n{error}", err=True)
        sys.exit(2)
    except DatabaseUnavailableError as error:
        is_there = isinstance(error.__cause__, ProgrammingError)
        problem = "lacks its tables: run `solaris db upgrade`" if is_there else "cannot be reached"
        click.echo(f"solaris: Postgres (DATABASE_URL) {problem}", err=True)
        sys.exit(1)


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

    sys.exit(run_stack(state_dir))


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
            name,
            user_id=user,
            team_id=team,
            trusted=trusted,
            allowed_models=_model_names(models),
            role=role,
            expires_at=expires_at,
        )
    except KeyNameTakenError:
        raise click.ClickException(f"a live key named {name!r} exists; revoke it first") from None
    click.echo(
        f"Key {record.id} ({record.name}) is shown this once; only its hash is kept.", err=True
    )
    click.echo(key)


@keys.command("list")
@click.option("--all", "include_revoked", is_flag=True, help="Revoked keys too.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_keys(include_revoked: bool, as_json: bool) -> None:
    """List keys by prefix; the keys themselves are stored nowhere."""
    rows = [_key_row(record) for record in access.list_keys(include_revoked=include_revoked)]
    if as_json:
        click.echo(orjson.dumps(rows).decode())
    else:
        _print_table(rows)


@keys.command("revoke")
@click.argument("reference", metavar="NAME|PREFIX|ID")
@with_appcontext
def revoke_key(reference: str) -> None:
    """Revoke a key; every worker refuses it within 5 seconds."""
    try:
        record = access.revoke_key(reference)
    except KeyNotFoundError:
        raise click.ClickException(
            f"no live key, or more than one, answers to {reference!r}"
        ) from None
    click.echo(f"revoked {record.id} ({record.name})")


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
        raise click.BadParameter(
            "must name whose budget it is (nobody for global; a model that exists)",
            param_hint="--subject",
        ) from None
    click.echo(f"budget {budget.id}")


@budgets.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_budgets(as_json: bool) -> None:
    """List budgets with what is posted, pending and left, and when they renew."""
    rows = [state.as_dict() for state in budget_service.states()]
    if as_json:
        click.echo(orjson.dumps(rows).decode())
    else:
        _print_table(rows)


def _days_from_now(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _model_names(listed: str | None) -> list[str] | None:
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if unknown := [name for name in names if name not in catalog]:
        raise click.BadParameter(f"unknown model {', '.join(unknown)}", param_hint="--models")
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


def _print_table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        click.echo("(none)", err=True)
        return
    cells = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return ",".join(value) if isinstance(value, list) else str(value)
