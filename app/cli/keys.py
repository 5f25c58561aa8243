"""API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click
from flask.cli import with_appcontext

from app.cli.output import CommandError, WrongUsageError, print_json, print_table, say, text
from app.config.commands import KEY_COLUMNS
from app.extensions import access, catalog
from app.services.access_service import ROLES
from app.services.identity import InvalidFactError
from app.services.key_store import (
    KeyAmbiguousError,
    KeyNameTakenError,
    KeyNotFoundError,
    KeyRecord,
)


@click.group()
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
    try:
        record = access.revoke_key(reference)
    except KeyNotFoundError:
        raise CommandError("key_unknown", reference=reference) from None
    except KeyAmbiguousError:
        raise CommandError("key_ambiguous", reference=reference) from None
    click.echo(text("key_revoked", id=record.id, name=record.name))


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
