"""Figures that nobody counts: they are read when somebody asks. Blocking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from prometheus_client.core import GaugeMetricFamily

from app.ledger.gauges import BudgetGauge, read_gauges
from app.ledger.store import LedgerStore
from app.utils.clock import Clock
from app.version import __version__

# Of how many percent it is counted who has used so much of a budget.
FULL_PERCENT = (80, 100)
# Whose subjects are few.
NAMED_SCOPES = ("global", "model")
SUMS = """
    SELECT (SELECT count(*) FROM holds WHERE state = 'pending') AS holds,
      (SELECT count(*) FROM alert_deliveries WHERE state = 'pending') AS queued,
      (SELECT count(*) FROM alert_deliveries WHERE state = 'failed') AS failed,
      (SELECT count(*) FROM alerts WHERE ended_at IS NULL AND severity = 'critical') AS critical,
      (SELECT count(*) FROM alerts WHERE ended_at IS NULL AND severity = 'warning') AS warning,
      (SELECT count(*) FROM kill_switches WHERE lifted_at IS NULL
        AND (expires_at IS NULL OR expires_at > now())) AS switches
"""
LAST_RECONCILIATION = """
    SELECT reconciled_at, missing_here, missing_there, differing FROM reconciliations
    ORDER BY day DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Reconciled:
    at: datetime
    discrepancies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DatabaseFigures:
    """What Postgres knows."""

    holds_pending: int
    alerts_queued: int
    alerts_failed: int
    alerts_open: Mapping[str, int]
    kill_switches: int
    budgets: tuple[BudgetGauge, ...]
    reconciled: Reconciled | None


class FigureReader:
    """Raises DatabaseUnavailableError, when Postgres is away."""

    def __init__(self, ledger: LedgerStore, zone: ZoneInfo, clock: Clock) -> None:
        self._ledger = ledger
        self._zone = zone
        self._clock = clock

    def read(self) -> DatabaseFigures:
        with self._ledger.asking() as cursor:
            gauges = tuple(read_gauges(cursor, self._clock.now(), self._zone))
            cursor.execute(SUMS)
            holds, queued, failed, critical, warning, switches = cursor.fetchone()
            cursor.execute(LAST_RECONCILIATION)
            last = cursor.fetchone()
        kinds = ("missing_here", "missing_there", "differing")
        return DatabaseFigures(
            holds_pending=holds,
            alerts_queued=queued,
            alerts_failed=failed,
            alerts_open={"critical": critical, "warning": warning},
            kill_switches=switches,
            budgets=gauges,
            reconciled=last and Reconciled(last[0], dict(zip(kinds, last[1:], strict=True))),
        )


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """What waits on this machine's disk, by spool."""

    waiting_bytes: Mapping[str, int]

    @classmethod
    def read(cls, folders: Mapping[str, Path]) -> SpoolFigures:
        return cls({name: _size(folder) for name, folder in folders.items()})


def _size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # It was sent meanwhile.
    return total


class ReadFigures:
    """A collector of figures that have been read; without a database's where it is away."""

    def __init__(self, database: DatabaseFigures | None, spools: SpoolFigures) -> None:
        self._database = database
        self._spools = spools

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _one("solaris_build_info", "1, with the version.", {"version": __version__}, 1)
        yield _many(
            "solaris_spool_waiting_bytes",
            "Events on disk that are not in Postgres yet.",
            "spool",
            self._spools.waiting_bytes,
        )
        is_up = self._database is not None
        yield _one("solaris_database_up", "1 where Postgres answers.", {}, int(is_up))
        if self._database is not None:
            yield from _of_database(self._database)


def _of_database(it: DatabaseFigures) -> Iterator[GaugeMetricFamily]:
    yield _one("solaris_holds_pending", "Calls that hold budget.", {}, it.holds_pending)
    queued = {"pending": it.alerts_queued, "failed": it.alerts_failed}
    yield _many("solaris_alert_deliveries", "Alerts not delivered.", "state", queued)
    yield _many("solaris_alerts_open", "Alerts that are open.", "severity", it.alerts_open)
    yield _one("solaris_kill_switches", "Kill switches thrown.", {}, it.kill_switches)
    yield _full_budgets(it.budgets)
    yield _named_budgets(it.budgets)
    if it.reconciled is not None:
        at = it.reconciled.at.timestamp()
        yield _one(
            "solaris_reconciliation_timestamp_seconds", "When a day was last compared.", {}, at
        )
        yield _many(
            "solaris_reconciliation_discrepancies",
            "Requests of that day which do not agree with LiteLLM.",
            "kind",
            it.reconciled.discrepancies,
        )


def _full_budgets(gauges: tuple[BudgetGauge, ...]) -> GaugeMetricFamily:
    labels = ("scope", "metric", "period", "percent")
    family = GaugeMetricFamily(
        "solaris_budgets_full", "Budgets of which so many percent are used.", labels=labels
    )
    counts: Counter[tuple[str, ...]] = Counter()
    for it in gauges:
        for percent in FULL_PERCENT:
            is_full = it.used * 100 >= it.limit * percent
            counts[(it.scope, it.metric, it.period, str(percent))] += is_full
    for values, count in sorted(counts.items()):
        family.add_metric(list(values), count)
    return family


def _named_budgets(gauges: tuple[BudgetGauge, ...]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "solaris_budget_used_ratio",
        "How much of the company's and the models' budgets is used, from a fifth on.",
        labels=("scope", "subject", "metric", "period"),
    )
    for it in gauges:
        if it.scope in NAMED_SCOPES:
            family.add_metric([it.scope, it.subject, it.metric, it.period], it.used / it.limit)
    return family


def _one(name: str, what: str, labels: Mapping[str, str], value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _many(name: str, what: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
