"""Today at a glance: what an administrator looks at first. Only reads, and asks no provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from app.alerting.state import Alert
from app.audit.queries import DAY, NO_SUMS, HourlyCalls, Sums
from app.config.catalog import Catalog
from app.ledger.gauges import BudgetGauge
from app.services.alert_service import AlertService
from app.services.audit_reader import AuditReader
from app.services.budget_service import BudgetService
from app.services.health_service import HealthService
from app.services.kill_switch_service import KillSwitchService
from app.services.kill_switch_store import KillSwitch
from app.services.model_info import ModelInfo, model_info
from app.services.raise_request_service import RaiseRequestService
from app.services.raise_request_store import RaiseRequest
from app.utils.clock import Clock

HOURS_SHOWN, DAYS_SHOWN = 24, 30
BUDGETS_SHOWN, ALERTS_SHOWN, REQUESTS_SHOWN, SWITCHES_SHOWN = 6, 5, 5, 5


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """``runs_out_on``: at its present pace, if that is before it renews; a day as ISO 8601."""

    gauge: BudgetGauge
    runs_out_on: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    now: datetime
    today: Sums
    yesterday: Sums
    # Of this calendar month.
    month: Sums
    hours: Sequence[HourlyCalls]
    days: Sequence[tuple[date, Sums]]
    budgets: Sequence[BudgetForecast]
    models: Sequence[ModelInfo]
    alerts: Sequence[Alert]
    raise_requests: Sequence[RaiseRequest]
    kill_switches: Sequence[KillSwitch]


class OverviewService:
    """Blocking."""

    def __init__(
        self,
        reader: AuditReader,
        budgets: BudgetService,
        raise_requests: RaiseRequestService,
        alerts: AlertService,
        kill_switch: KillSwitchService,
        catalog: Catalog,
        health: HealthService,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._budgets = budgets
        self._raise_requests = raise_requests
        self._alerts = alerts
        self._kill_switch = kill_switch
        self._catalog = catalog
        self._health = health
        self._clock = clock

    @property
    def zone(self) -> ZoneInfo:
        return self._reader.zone

    def today(self) -> Overview:
        """Raises: DatabaseUnavailableError."""
        now = self._clock.now()
        day = now.astimezone(self.zone).date()
        by_day = self._by_day(day)
        return Overview(
            now=now,
            today=by_day.get(day, NO_SUMS),
            yesterday=by_day.get(day - timedelta(days=1), NO_SUMS),
            month=_summed(it for known, it in by_day.items() if known >= day.replace(day=1)),
            hours=self._by_hour(now),
            days=[(it, by_day.get(it, NO_SUMS)) for it in _days_until(day)],
            budgets=[BudgetForecast(*it) for it in self._budgets.fullest(BUDGETS_SHOWN)],
            models=self.models(),
            alerts=self._alerts.page(ALERTS_SHOWN)[0],
            raise_requests=self._raise_requests.page(REQUESTS_SHOWN, state="open")[0],
            kill_switches=self._kill_switch.page(SWITCHES_SHOWN)[0],
        )

    def models(self) -> list[ModelInfo]:
        """Return every model as calls have shown it; asks nobody."""
        return [model_info(it, self._health.of(name)) for name, it in self._catalog.models.items()]

    def usage_of(self, of: Mapping[str, str]) -> list[tuple[date, Sums]]:
        """Return what a person or a team used on each of the last days.

        Raises: DatabaseUnavailableError.
        """
        day = self._clock.now().astimezone(self.zone).date()
        by_day = self._by_day(day, of)
        return [(it, by_day.get(it, NO_SUMS)) for it in _days_until(day)]

    def models_of(self, of: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what they used by model in this calendar month, the dearest first.

        Raises: DatabaseUnavailableError.
        """
        day = self._clock.now().astimezone(self.zone).date()
        rows = self._reader.usage(["model"], day.replace(day=1), day, of)
        return sorted(rows, key=lambda it: (-it["cost_micro_usd"], -it["requests"]))

    def _by_day(self, day: date, of: Mapping[str, str] | None = None) -> dict[date, Sums]:
        # A month has a day more than is shown, at most.
        first = min(day.replace(day=1), next(iter(_days_until(day))))
        rows = self._reader.usage([DAY], first, day, of or {})
        return {row[DAY]: Sums(*(row[name] for name in Sums._fields)) for row in rows}

    def _by_hour(self, now: datetime) -> list[HourlyCalls]:
        """Return the last hours, those without calls as well."""
        this_hour = now.replace(minute=0, second=0, microsecond=0)
        since = this_hour - timedelta(hours=HOURS_SHOWN - 1)
        until = this_hour + timedelta(hours=1)
        found = {it.hour: it for it in self._reader.calls_by_hour(since, until)}
        hours = [since + timedelta(hours=it) for it in range(HOURS_SHOWN)]
        return [found.get(it, HourlyCalls(it, 0, 0)) for it in hours]


def _days_until(day: date) -> list[date]:
    return [day - timedelta(days=it) for it in reversed(range(DAYS_SHOWN))]


def _summed(sums: Any) -> Sums:
    total = NO_SUMS
    for it in sums:
        total = total.plus(it)
    return total
