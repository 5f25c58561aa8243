"""People and teams."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from app.cli.output import (
    CommandError,
    WrongUsageError,
    print_facts,
    print_json,
    print_table,
    say,
    text,
)
from app.config.commands import PERSON_COLUMNS, TEAM_COLUMNS
from app.extensions import people as people_service
from app.services.identity import InvalidFactError
from app.services.people_store import PersonNotFoundError

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


@click.group()
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
        print_json(rows)
    else:
        print_table(
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
        print_json([row])
    else:
        print_facts(row, PERSON_COLUMNS)


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
        raise WrongUsageError("bad_fact", fact=error.param) from None
    say(text("user_made" if is_new else "user_changed", id=person))


@click.group()
def teams() -> None:
    """Teams: list, set. They appear by themselves when they are first named."""


@teams.command("list")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_teams(as_json: bool) -> None:
    """List teams and how many people are in each; times in UTC."""
    rows = people_service.teams()
    if as_json:
        print_json(rows)
    else:
        print_table(rows, TEAM_COLUMNS)


@teams.command("set")
@click.argument("team", metavar="ID")
@click.option("--name", required=True, help="What people call it; '' for nothing but its id.")
@with_appcontext
def set_team(team: str, name: str) -> None:
    """Name a team, or make one before anybody is in it."""
    try:
        is_new = people_service.set_team(team, name)
    except InvalidFactError as error:
        raise WrongUsageError("bad_fact", fact=error.param) from None
    say(text("team_made" if is_new else "team_changed", id=team))
