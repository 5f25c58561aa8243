"""What a person may ask about their data: a copy, its end; and what a court may ask: to keep it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import orjson
from flask.cli import with_appcontext

from app.cli.output import CommandError, WrongUsageError, print_json, print_table, say, text
from app.config.commands import OPERATION_COLUMNS
from app.extensions import subjects
from app.services.identity import InvalidFactError
from app.services.subject_erasure import SubjectBusyError
from app.services.subject_service import (
    NotHeldError,
    NotOwnerError,
    SubjectHeldError,
    UnknownSubjectError,
)

SUBJECT = click.argument("person", metavar="ID")


@click.group()
def subject() -> None:
    """A person's data: export, erase, hold, unhold (LGPD). As the owner of the tables."""


@subject.command("export")
@SUBJECT
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Default: standard output. Only you can read the file.",
)
@with_appcontext
def export_subject(person: str, output: Path | None) -> None:
    """Write everything that is kept about a person, as JSON; times in UTC, money in micro-USD."""
    with _problems_told(person):
        found = subjects.export(person)
    document = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output is None:
        click.echo(document, nl=False)
        return
    _write(output, document)
    say(text("subject_exported", id=person, path=output))


@subject.command("erase")
@SUBJECT
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def erase_subject(person: str, yes: bool) -> None:
    """Make unreadable or remove what is kept about a person, for good.

    Their keys are revoked; a pseudonym takes their place in what must be kept. The audit trail
    still verifies.
    """
    if not yes and not click.confirm(text("subject_erase_sure", id=person), err=True):
        raise click.Abort
    with _problems_told(person):
        pseudonym = subjects.erase(person)
    say(text("subject_erased"))
    click.echo(pseudonym)


@subject.command("hold")
@SUBJECT
@click.option("--reason", metavar="TEXT", required=True, help="Why, and who asked for it.")
@with_appcontext
def hold_subject(person: str, reason: str) -> None:
    """Set a legal hold: nothing about the person goes, by no command, until it is lifted."""
    if not reason.strip():
        raise WrongUsageError("bad_fact", fact="--reason")
    with _problems_told(person):
        subjects.hold(person, reason.strip())
    say(text("subject_held", id=person))


@subject.command("unhold")
@SUBJECT
@with_appcontext
def unhold_subject(person: str) -> None:
    """Lift a person's legal holds."""
    with _problems_told(person):
        subjects.unhold(person)
    say(text("subject_unheld", id=person))


@subject.command("list-operations")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_operations(as_json: bool) -> None:
    """List who exported, erased, held or unheld whose data, and when; times in UTC."""
    with _problems_told(""):
        rows = subjects.operations()
    if as_json:
        print_json(rows)
    else:
        print_table(rows, OPERATION_COLUMNS)


@contextmanager
def _problems_told(person: str) -> Iterator[None]:
    try:
        yield
    except InvalidFactError as error:
        raise WrongUsageError("bad_fact", fact=error.param) from None
    except UnknownSubjectError:
        raise CommandError("subject_unknown", id=person) from None
    except SubjectHeldError:
        raise CommandError("subject_is_held", id=person) from None
    except NotHeldError:
        raise CommandError("subject_not_held", id=person) from None
    except SubjectBusyError as error:
        until = f"{error.until:%H:%M:%S} UTC" if error.until else text("in_seconds")
        raise CommandError("subject_busy", id=person, until=until) from None
    except NotOwnerError:
        raise CommandError("subject_not_owner") from None


def _write(path: Path, document: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(document)
    except OSError as fault:
        raise CommandError("cannot_write", path=path, reason=fault.strerror) from fault
