"""`solaris`: the product's command line, on Flask's own.

Results go to standard output, logs and notes to standard error; `--json` prints one JSON array.
"""

from __future__ import annotations

import getpass
import logging.config
import os
import shlex
import sys

import click
import psycopg2
from flask.cli import ScriptInfo
from flask_migrate.cli import db as db_commands
from sqlalchemy.exc import ProgrammingError

from app import create_app
from app.audit.grants import UnknownRoleError
from app.cli.alerts import alerts
from app.cli.audit import audit
from app.cli.audit_queries import chargeback, list_events, recount, replay
from app.cli.budgets import budgets
from app.cli.doctor import doctor
from app.cli.keys import keys
from app.cli.kill_switch import killswitch
from app.cli.output import say, say_unusable, text
from app.cli.people import teams, users
from app.cli.reconcile import reconcile
from app.cli.server import drain, litellm_config, run, serve
from app.cli.subject import subject
from app.cli.usage import usage
from app.config.errors import ConfigurationError
from app.config.settings import PROJECT_ROOT
from app.utils.actor import actor_var
from app.utils.exceptions import DatabaseUnavailableError
from app.utils.json_logging import logging_config
from app.utils.postgres_faults import why_unreachable
from app.version import __version__

# Left by `make run` while it runs.
RUNNING_ENV = PROJECT_ROOT / "var" / "env"
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
    actor_var.set(f"cli:{getpass.getuser()}")


def _hide_what_is_not_ours(db: click.Group) -> None:
    """Leave out of the help what makes a project or bends its history, and another's default."""
    for name, command in db.commands.items():
        command.hidden = name not in DB_COMMANDS
    for command in (db, *db.commands.values()):
        for option in command.params:
            if isinstance(option, click.Option) and option.name == "directory":
                option.hidden = True


_hide_what_is_not_ours(db_commands)
for question in (list_events, recount, chargeback, replay):
    audit.add_command(question)
for command in (db_commands, serve, run, litellm_config, drain, keys, budgets, users, teams):
    cli.add_command(command)
for command in (usage, audit, alerts, reconcile, killswitch, doctor):
    cli.add_command(command)
cli.add_command(subject)


def main() -> None:
    """Run the command line; configuration that cannot be used ends it with exit 2."""
    try:
        cli(standalone_mode=True)
    except ConfigurationError as error:
        say_unusable(error)
        if RUNNING_ENV.exists() and not os.environ.get("ENVIRONMENT"):
            say(text("use_running", path=shlex.quote(str(RUNNING_ENV))))
        sys.exit(2)
    except DatabaseUnavailableError as error:
        say(f"solaris: {_database_problem(error)}")
        sys.exit(1)
    except UnknownRoleError as error:
        say(f"solaris: {text('role_missing', role=error)}")
        sys.exit(1)


def _database_problem(error: DatabaseUnavailableError) -> str:
    if isinstance(error.__cause__, ProgrammingError | psycopg2.ProgrammingError):
        return text("tables_missing")
    variable = error.values.get("variable", "DATABASE_URL")
    return text("database_away", variable=variable, reason=why_unreachable(error.__cause__))
