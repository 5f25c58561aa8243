"""What commands print: results on standard output, notes and problems on standard error."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

import click
import orjson

from app.config.commands import command_text
from app.config.errors import ConfigurationError
from app.config.problems import locale_of


class CommandError(click.ClickException):
    """What the person asked for cannot be done."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(text(key, **values))

    def show(self, file: Any = None) -> None:
        click.echo(f"solaris: {self.format_message()}", file=file, err=True)


class WrongUsageError(CommandError):
    """What the person typed cannot be meant."""

    exit_code = 2


def say_unusable(error: ConfigurationError) -> None:
    say(f"solaris: {text('unusable')}\n{error.text(locale_of(os.environ))}")


def text(key: str, **values: object) -> str:
    # Of the environment, not of the settings: they may be what is wrong.
    return command_text(key, locale_of(os.environ), **values)


def say(text: str) -> None:
    click.echo(text, err=True)


def print_json(rows: list[dict[str, Any]]) -> None:
    click.echo(orjson.dumps(rows).decode())


def print_facts(row: dict[str, Any], heads: dict[str, dict[str, str]]) -> None:
    columns = heads[locale_of(os.environ)]
    width = max(len(columns[name]) for name in row)
    for name, value in row.items():
        click.echo(f"{columns[name]:<{width}}  {_cell(value)}")


def print_table(rows: list[dict[str, Any]], heads: dict[str, dict[str, str]]) -> None:
    if not rows:
        say(text("no_keys"))
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
        return text("yes" if value else "no")
    return _printable(",".join(value) if isinstance(value, list) else str(value))


def _printable(text: str) -> str:
    """Take away what would command the terminal: names come from clients."""
    return "".join(it if it.isprintable() else "\N{REPLACEMENT CHARACTER}" for it in text)
