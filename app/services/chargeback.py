"""A closed month as it is given to whoever pays: the same words for the same month, always."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from app.audit.closing import Line, Statement
from app.audit.queries import NO_SUMS, Sums


def lines_of(statement: Statement, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return team, user, model and what was used, a line each, in the order of the statement."""
    return [
        {
            "month": f"{statement.closed.month:%Y-%m}",
            **{name: statement.labels.get(it) for name, it in _places(line).items()},
            **line.sums.as_dict(),
            "checkpoint": statement.closed.checkpoint_id,
            "checkpoint_hash": statement.closed.checkpoint_hash.hex(),
        }
        for line in _ordered(statement, lines)
    ]


def document_of(statement: Statement, lines: Sequence[Line]) -> dict[str, Any]:
    """Return the month with its sums: by team, in it by user, in those by model."""
    closed = statement.closed
    in_order = _ordered(statement, lines)
    return {
        "month": f"{closed.month:%Y-%m}",
        "timezone": closed.timezone,
        "checkpoint": closed.checkpoint_id,
        "checkpoint_hash": closed.checkpoint_hash.hex(),
        "last_seq": closed.last_seq,
        **total_of(in_order).as_dict(),
        "teams": _grouped(
            statement,
            in_order,
            ("team", "users"),
            lambda team: _grouped(
                statement,
                team,
                ("user", "models"),
                lambda user: [
                    {"model": statement.labels.get(it.model), **it.sums.as_dict()} for it in user
                ],
            ),
        ),
    }


def total_of(lines: Iterable[Line]) -> Sums:
    total = NO_SUMS
    for line in lines:
        total = total.plus(line.sums)
    return total


def _grouped(
    statement: Statement,
    lines: Sequence[Line],
    names: tuple[str, str],
    parts_of: Callable[[list[Line]], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    name, parts = names
    groups = [
        (number, list(group)) for number, group in groupby(lines, lambda it: _places(it)[name])
    ]
    return [
        {
            name: statement.labels.get(number),
            **total_of(group).as_dict(),
            parts: parts_of(group),
        }
        for number, group in groups
    ]


def _places(line: Line) -> dict[str, int]:
    return {"team": line.team, "user": line.user, "model": line.model}


def _ordered(statement: Statement, lines: Sequence[Line]) -> list[Line]:
    """Order by team and model as they are called, but people by their numbers: where one is
    erased, a name changes in the statement, and no line its place."""

    def place(line: Line) -> tuple[Any, ...]:
        team, model = statement.labels.get(line.team), statement.labels.get(line.model)
        nobody = (line.user == 0, line.user)
        return (team is None, team or "", line.team, *nobody, model is None, model or "")

    return sorted(lines, key=place)
