"""Budgets from a file: a YAML list of {scope, subject, metric, period, limit}, and perhaps mode."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from app.ledger.periods import PERIODS
from app.ledger.rules import METRICS, MODES, SCOPES, Budget

CHOICES = {"scope": SCOPES, "metric": METRICS, "period": PERIODS, "mode": MODES}
FIELDS = frozenset({*CHOICES, "subject", "limit"})


class BudgetFileError(ValueError):
    """``entry`` counts from 1; None: the file as a whole is no list."""

    def __init__(self, entry: int | None = None, field: str | None = None) -> None:
        self.entry = entry
        self.field = field
        super().__init__(entry, field)


def read_budgets(path: Path) -> list[Budget]:
    """Raises: BudgetFileError; OSError."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as fault:
        raise BudgetFileError from fault
    if not isinstance(entries, list):
        raise BudgetFileError
    budgets = [_budget(number, entry) for number, entry in enumerate(entries, 1)]
    seen: set[tuple[str, str, str, str]] = set()
    for it in budgets:
        place = (it.scope, it.subject, it.metric, it.period)
        if place in seen:
            raise BudgetFileError(it.id, "subject")
        seen.add(place)
    return budgets


def _budget(number: int, entry: object) -> Budget:
    if not isinstance(entry, Mapping):
        raise BudgetFileError(number)
    facts: dict[str, Any] = {"subject": "", "mode": "enforce", **entry}
    for name in facts:
        if name not in FIELDS:
            raise BudgetFileError(number, str(name))
    for name, allowed in CHOICES.items():
        if facts.get(name) not in allowed:
            raise BudgetFileError(number, name)
    subject, limit = str(facts["subject"]), facts.get("limit")
    if (facts["scope"] == "global") is bool(subject):
        raise BudgetFileError(number, "subject")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise BudgetFileError(number, "limit")
    places = (facts["scope"], subject, facts["metric"], facts["period"])
    return Budget(number, *places, limit, facts["mode"])
