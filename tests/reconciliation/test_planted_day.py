"""A day of 10,000 requests with 50 of everything planted in it: found is exactly that."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from app.audit.chain import AuditKeys
from app.audit.recount import recount
from app.audit.store import AuditStore
from app.audit.verify import verify_trail
from app.dialects.base import Usage
from app.ledger.book import Spend
from app.ledger.store import LedgerStore
from app.reconciliation.result import Reconciliation
from app.services.reconciliation_service import ReconciliationService
from tests.audit.trails import PRESENT, ZONE
from tests.reconciliation.days import DAY, MODELS, START, Day, request_id

REQUESTS, EACH = 10_000, 50


@dataclass
class Planted:
    """Which requests are what, and what the corrected ones really were."""

    kinds: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    truth: dict[str, tuple[int, int]] = field(default_factory=dict)
    matched: int = 0

    @property
    def found(self) -> dict[str, set[str]]:
        return {kind: ids for kind, ids in self.kinds.items() if kind != "adjusted"}


def plant(day: Day) -> Planted:
    planted = Planted()
    numbers = iter(range(REQUESTS))
    for _ in range(EACH):
        _missing(day, planted, numbers)
        _differing(day, planted, numbers)
        _harmless(day, planted, numbers)
        _estimated(day, planted, numbers)
    _neighbours(day)
    for number in numbers:
        model = MODELS[number % len(MODELS)]
        day.add(request_id(number), {"model": model}, {"model": model})
        planted.matched += 1
    day.write()
    return planted


def _missing(day: Day, planted: Planted, numbers: Any) -> None:
    ids = [request_id(next(numbers)) for _ in range(6)]
    day.add(ids[0], None, {})
    day.add(ids[1], {"event": "refusal", "usage": None, "cost_micro_usd": 0, "status": 402}, {})
    day.add(ids[2], {"usage": None, "cost_micro_usd": 0, "status": 502}, {})
    # A call that went round the proxy.
    foreign = f"{ids[3][:14]}4{ids[3][15:]}"
    day.add(foreign, None, {"at": START + timedelta(hours=9)})
    planted.kinds["missing_here"] |= {*ids[:3], foreign}
    # An id that somebody has made long before: the time in it says nothing of the call.
    made = START - timedelta(days=30) + timedelta(milliseconds=len(planted.kinds["missing_here"]))
    old = request_id(1, made)
    day.add(old, None, {"at": START + timedelta(hours=10)})
    planted.kinds["missing_here"].add(old)
    day.add(ids[4], {}, None)
    day.add(ids[5], {}, {"event_type": "request_error", "cost_micro_usd": 0, "status": "error"})
    planted.kinds["missing_there"] |= set(ids[4:])


def _differing(day: Day, planted: Planted, numbers: Any) -> None:
    ids = [request_id(next(numbers)) for _ in range(5)]
    day.add(ids[0], {}, {"input_tokens": 101})
    day.add(ids[1], {}, {"output_tokens": 19})
    day.add(ids[2], {}, {"cost_micro_usd": 2_021})
    day.add(ids[3], {"cost_micro_usd": 30}, {"cost_micro_usd": 19})
    # LiteLLM's own answer said another price than its event.
    day.add(ids[4], {"detail": {"litellm_cost": 2_500}}, {})
    planted.kinds["differing"] |= set(ids)


def _harmless(day: Day, planted: Planted, numbers: Any) -> None:
    ids = [request_id(next(numbers)) for _ in range(8)]
    day.add(ids[0], {}, {"cost_micro_usd": 2_020})
    day.add(ids[1], {"cost_micro_usd": 30}, {"cost_micro_usd": 20})
    # Told twice, under another id.
    day.add(ids[2], {}, {})
    day.add(ids[2], None, {"id": f"{ids[2]}:again"})
    # From LiteLLM's cache: it says all the counts, and costs nothing.
    cached = {"usage": Usage(0, 0), "cost_micro_usd": 0, "detail": {"cache": True}}
    day.add(ids[3], cached, {"is_cached": True, "cost_micro_usd": 2_000})
    # Three days on its way.
    day.add(ids[4], {}, {"received_at": START + timedelta(days=3)})
    # The caller left: both sides can only estimate.
    day.add(
        ids[5], {"is_estimated": True, "status": 499}, {"status": "client_left", "input_tokens": 8}
    )
    # No price is known there.
    day.add(ids[6], {"detail": {"litellm_cost": 2_000}}, {"cost_micro_usd": None})
    # Nothing came of it, on either side: of no account.
    day.add(ids[7], {"usage": None, "cost_micro_usd": 0, "status": 502}, None)
    planted.matched += 7


def _estimated(day: Day, planted: Planted, numbers: Any) -> None:
    """Of each pair one was estimated too high and one too low."""
    for tokens, cost in ((1_000, 9_000), (20, 150)):
        it = request_id(next(numbers))
        day.hold(it, Spend(tokens, cost))
        day.add(it, {"usage": None, "cost_micro_usd": cost, "is_estimated": True}, {})
        planted.truth[it] = (120, 2_000)
        planted.kinds["adjusted"].add(it)
        planted.matched += 1


def _neighbours(day: Day) -> None:
    """Calls around both midnights; each belongs to the day that its id says."""
    for number, (seconds, delay) in enumerate([(-1, 5), (-1, -1), (86_400, 1), (86_401, -3)]):
        made = START + timedelta(seconds=seconds)
        day.add(request_id(number, made), None, {"at": made + timedelta(seconds=delay)})


def ids_by_kind(found: Reconciliation) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = defaultdict(set)
    for it in found.discrepancies:
        kinds[it["kind"]].add(it["request_id"])
    return kinds


@pytest.fixture
def planted(day: Day) -> Planted:
    return plant(day)


def test_planted_day_is_found_exactly_twice_and_corrected_once(
    day: Day,
    planted: Planted,
    service: ReconciliationService,
    ledger: LedgerStore,
    engine: Engine,
    store: AuditStore,
) -> None:
    first = service.reconcile(DAY)
    second = service.reconcile(DAY)

    assert ids_by_kind(first) == planted.found
    assert (first.missing_here, first.missing_there) == (5 * EACH, 2 * EACH)
    assert (first.differing, first.estimated, first.adjusted) == (5 * EACH, EACH, 2 * EACH)
    assert first.matched == planted.matched
    assert second == first
    assert service.results(DAY, DAY) == [first]

    adjusted = day.rows(
        "SELECT count(*), count(DISTINCT request_id) FROM audit_events WHERE"
        " event = (SELECT id FROM audit_names WHERE value = 'adjustment')"
    )
    assert adjusted == [(2 * EACH, 2 * EACH)]
    held = {
        request_id: (posted[0] - (credited or [0])[0], posted[1] - (credited or [0, 0])[1])
        for request_id, posted, credited in day.rows(
            "SELECT request_id, posted, credited FROM holds"
        )
    }
    assert held == planted.truth
    lines = day.rows(
        "SELECT sum(posted - credited) FROM budget_lines AS line"
        " JOIN budgets ON budgets.id = budget_id GROUP BY metric ORDER BY metric"
    )
    assert lines == [(2_000 * 2 * EACH,), (2 * EACH,), (120 * 2 * EACH,)]
    assert recount(engine, ZONE).is_good
    assert verify_trail(engine, AuditKeys([PRESENT])).finding is None
