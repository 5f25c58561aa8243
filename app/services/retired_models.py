"""Models of the catalogue that their provider has retired, or will soon, by LiteLLM's cost map."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from app.config.catalog import Model

# Free, and open to everybody (LiteLLM 1.106.2, `public_endpoints.py`).
MAP_PATH = "/public/litellm_model_cost_map"
MAP_FILE = "lib/python*/site-packages/litellm/model_prices_and_context_window_backup.json"
TIMEOUT_S = 10.0
SOON = timedelta(days=90)

CostMap = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Retirement:
    """``on`` is None where the map does not know the target, which it does of all that are sold."""

    model: str
    target: str
    on: date | None


def load_cost_map(litellm_url: str, litellm_dir: Path) -> CostMap | None:
    """Return the map of the LiteLLM that is installed here, else of the one that runs.

    One that runs has added every target of its configuration to the map, those that are not sold
    any more included: only days of retirement can be told by it.
    """
    found = _installed(litellm_dir) or _running(litellm_url)
    return found if isinstance(found, dict) and found else None


def _running(litellm_url: str) -> Any:
    try:
        with urlopen(f"{litellm_url}{MAP_PATH}", timeout=TIMEOUT_S) as answer:  # noqa: S310  # checked by the settings
            return json.load(answer)
    except (OSError, HTTPException, ValueError):
        return None


def _installed(litellm_dir: Path) -> Any:
    for path in litellm_dir.glob(MAP_FILE):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def retirements(models: Iterable[Model], cost_map: CostMap, today: date) -> list[Retirement]:
    """Return what has been retired, will be soon, or is not known any more."""
    found = []
    for model in models:
        entry = _entry(cost_map, model.target)
        on = _day(entry)
        if entry is None or (on is not None and on - SOON <= today):
            found.append(Retirement(model.name, model.target, on))
    return found


def _entry(cost_map: CostMap, target: str) -> Mapping[str, Any] | None:
    """A target is `provider/name`; the map has some names with their provider, some without."""
    for name in (target, target.partition("/")[2]):
        entry = cost_map.get(name)
        if isinstance(entry, dict):
            return entry
    return None


def _day(entry: Mapping[str, Any] | None) -> date | None:
    try:
        return date.fromisoformat(str((entry or {}).get("deprecation_date")))
    except ValueError:
        return None
