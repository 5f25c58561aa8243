"""What a reconciliation has found: gathered request by request, kept a row a day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from typing import Any

import orjson

from app.reconciliation.compare import (
    Kind,
    Pair,
    Verdict,
    describe,
    difference,
    our_cost,
    their_cost,
)

# So many are kept and shown; the counts are of all.
KEPT_DISCREPANCIES = 1_000
COLUMNS = (
    "day",
    "timezone",
    "reconciled_at",
    "matched",
    "missing_here",
    "missing_there",
    "differing",
    "estimated",
    "adjusted",
    "difference_micro_usd",
    "adjusted_micro_usd",
    "models",
    "discrepancies",
)
SAVE = f"""
    INSERT INTO reconciliations ({", ".join(COLUMNS)})
    VALUES ({", ".join(["%s"] * len(COLUMNS))})
    ON CONFLICT (day) DO UPDATE SET
      {", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])}
"""  # noqa: S608  # names of ours
RESULTS = f"""
    SELECT {", ".join(COLUMNS)} FROM reconciliations WHERE day BETWEEN %s AND %s ORDER BY day
"""  # noqa: S608  # names of ours
LATEST_RESULTS = f"""
    SELECT {", ".join(COLUMNS)} FROM reconciliations WHERE day BETWEEN %s AND %s
    ORDER BY day DESC LIMIT %s
"""  # noqa: S608  # names of ours
LAST_DAY = "SELECT max(day) FROM reconciliations"


@dataclass(slots=True)
class ModelSums:
    """One model's requests of a day; money in micro-USD."""

    model: str | None
    matched: int = 0
    missing_here: int = 0
    missing_there: int = 0
    differing: int = 0
    estimated: int = 0
    adjusted: int = 0
    our_micro_usd: int = 0
    litellm_micro_usd: int = 0
    # Ours less LiteLLM's: what cancels out among its requests is not seen in it.
    difference_micro_usd: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {it.name: getattr(self, it.name) for it in fields(self)}


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One day. ``difference_micro_usd`` is the sum of what every discrepancy is off by, whichever
    way; ``adjusted_micro_usd`` is what corrections of estimates came to, in all."""

    day: date
    timezone: str
    reconciled_at: datetime
    matched: int
    missing_here: int
    missing_there: int
    differing: int
    estimated: int
    adjusted: int
    difference_micro_usd: int
    adjusted_micro_usd: int
    models: tuple[dict[str, Any], ...]
    discrepancies: tuple[dict[str, Any], ...]

    @property
    def found(self) -> int:
        return self.missing_here + self.missing_there + self.differing

    @property
    def is_good(self) -> bool:
        return not self.found

    @property
    def counts(self) -> dict[str, Any]:
        """Return what is told of it on record."""
        names = (*(it.value for it in Kind), "difference_micro_usd", "adjusted")
        return {"day": self.day.isoformat(), **{name: getattr(self, name) for name in names}}

    def as_dict(self) -> dict[str, Any]:
        return {"good": self.is_good, **{name: getattr(self, name) for name in COLUMNS}}


@dataclass(slots=True)
class Gathered:
    """A reconciliation as it comes about."""

    models: dict[str | None, ModelSums] = field(default_factory=dict)
    discrepancies: list[dict[str, Any]] = field(default_factory=list)
    difference_micro_usd: int = 0
    adjusted_micro_usd: int = 0

    def add(self, pair: Pair, verdict: Verdict) -> None:
        sums = self.models.setdefault(pair.model, ModelSums(pair.model))
        setattr(sums, verdict.kind, getattr(sums, verdict.kind) + 1)
        sums.estimated += verdict.is_estimate
        sums.our_micro_usd += our_cost(pair)
        sums.litellm_micro_usd += their_cost(pair)
        sums.difference_micro_usd += difference(pair)
        if pair.ours is not None and pair.ours.adjusted_micro_usd is not None:
            sums.adjusted += 1
            self.adjusted_micro_usd += pair.ours.adjusted_micro_usd
        if verdict.kind is not Kind.MATCHED:
            self.difference_micro_usd += abs(difference(pair))
            if len(self.discrepancies) < KEPT_DISCREPANCIES:
                self.discrepancies.append(describe(pair, verdict))

    def result(self, day: date, timezone: str, now: datetime) -> Reconciliation:
        models = sorted(self.models.values(), key=lambda it: (it.model is None, it.model or ""))

        def total(name: str) -> int:
            return sum(getattr(it, name) for it in models)

        return Reconciliation(
            day,
            timezone,
            now,
            matched=total(Kind.MATCHED),
            missing_here=total(Kind.MISSING_HERE),
            missing_there=total(Kind.MISSING_THERE),
            differing=total(Kind.DIFFERING),
            estimated=total("estimated"),
            adjusted=total("adjusted"),
            difference_micro_usd=self.difference_micro_usd,
            adjusted_micro_usd=self.adjusted_micro_usd,
            models=tuple(it.as_dict() for it in models),
            discrepancies=tuple(sorted(self.discrepancies, key=_order)),
        )


def _order(discrepancy: dict[str, Any]) -> tuple[int, str]:
    return list(Kind).index(Kind(discrepancy["kind"])), discrepancy["request_id"]


def save(cursor: Any, it: Reconciliation) -> None:
    values = [getattr(it, name) for name in COLUMNS]
    cursor.execute(SAVE, (*values[:-2], *(orjson.dumps(rows).decode() for rows in values[-2:])))


def saved(cursor: Any, first: date, last: date) -> Iterator[Reconciliation]:
    cursor.execute(RESULTS, (first, last))
    return map(_of_row, cursor.fetchall())


def latest(cursor: Any, first: date, last: date, limit: int) -> Iterator[Reconciliation]:
    cursor.execute(LATEST_RESULTS, (first, last, limit))
    return map(_of_row, cursor.fetchall())


def _of_row(row: Sequence[Any]) -> Reconciliation:
    facts = dict(zip(COLUMNS, row, strict=True))
    facts["reconciled_at"] = facts["reconciled_at"].astimezone(UTC)
    return Reconciliation(**facts | {name: tuple(facts[name]) for name in COLUMNS[-2:]})
