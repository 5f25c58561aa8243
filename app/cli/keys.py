"""API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
from flask.cli import with_appcontext

from app.cli.output import CommandError, WrongUsageError, print_json, print_table, say, text
from app.config.commands import KEY_COLUMNS
from app.extensions import access
from app.services.access_service import ROLES, UnknownModelsError
from app.services.identity import InvalidFactError
from app.services.key_store import (
    KeyAmbiguousError,
    KeyEndedError,
    KeyNameTakenError,
    KeyNotFoundError,
    KeyRecord,
)


@click.group()
def keys() -> None:
    """API keys: create, list, change, rotate, revoke."""


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
    except UnknownModelsError as error:
        raise WrongUsageError("unknown_models", names=", ".join(error.names)) from None
    except InvalidFactError as error:
        raise WrongUsageError("bad_fact", fact=error.param) from None
    say(text("key_made", id=record.id, name=record.name))
    click.echo(key)


@keys.command("list")
@click.option("--all", "include_revoked", is_flag=True, help="Revoked keys too.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def list_keys(include_revoked: bool, as_json: bool) -> None:
    """List keys by prefix; the keys themselves are stored nowhere."""
    rows = [_key_row(record) for record in access.list_keys(include_revoked=include_revoked)]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, KEY_COLUMNS)


@keys.command("revoke")
@click.argument("reference", metavar="NAME|PREFIX|ID")
@with_appcontext
def revoke_key(reference: str) -> None:
    """Revoke a key; every worker refuses it within 5 seconds."""
    record = access.revoke_key(_found(reference).id)
    click.echo(text("key_revoked", id=record.id, name=record.name))


@keys.command("rotate")
@click.argument("reference", metavar="NAME|PREFIX|ID")
@click.option(
    "--grace-hours",
    type=click.IntRange(0, 24 * 90),
    default=24,
    show_default=True,
    help="For so long the old one is good, too; 0: it ends now.",
)
@with_appcontext
def rotate_key(reference: str, grace_hours: int) -> None:
    """Make a key's successor and print it, once, alone on the last line.

    It has the same name, owner, models and budgets.
    """
    try:
        key, record = access.rotate_key(_found(reference).id, timedelta(hours=grace_hours))
    except KeyEndedError:
        raise CommandError("key_replaced", reference=reference) from None
    say(text("key_rotated", id=record.id, name=record.name, hours=grace_hours))
    click.echo(key)


@keys.command("change")
@click.argument("reference", metavar="NAME|PREFIX|ID")
@click.option("--models", help="Allowed models and groups, separated by commas; '' for all.")
@click.option("--expires-in-days", type=click.IntRange(min=0), help="From now on; 0: never.")
@with_appcontext
def change_key(reference: str, models: str | None, expires_in_days: int | None) -> None:
    """Change which models a key may call, or when it expires; binds within 5 seconds."""
    changes: dict[str, Any] = {}
    if models is not None:
        changes["models"] = _model_names(models) if models else None
    if expires_in_days is not None:
        changes["expires_at"] = _days_from_now(expires_in_days) if expires_in_days else None
    if not changes:
        raise WrongUsageError("nothing_to_set", options="--models, --expires-in-days")
    try:
        record = access.change_key(_found(reference).id, changes)
    except UnknownModelsError as error:
        raise WrongUsageError("unknown_models", names=", ".join(error.names)) from None
    click.echo(text("key_changed", id=record.id, name=record.name))


def _found(reference: str) -> KeyRecord:
    try:
        return access.find_key(reference)
    except KeyNotFoundError:
        raise CommandError("key_unknown", reference=reference) from None
    except KeyAmbiguousError:
        raise CommandError("key_ambiguous", reference=reference) from None


def _days_from_now(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _model_names(listed: str | None) -> list[str] | None:
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if not names:
        raise WrongUsageError("empty_models")
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
        "replaced_at": record.replaced_at,
        "revoked_at": record.revoked_at,
    }
