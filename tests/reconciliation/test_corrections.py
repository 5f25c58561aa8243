"""What was settled on an estimate is corrected by what LiteLLM knows: in the ledger, on record and
in the sums, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.audit.chain import AuditKey, AuditKeys
from app.audit.closing import Closing
from app.audit.event import AuditEvent
from app.audit.queries import EventFilter, TrailQueries
from app.audit.recount import recount
from app.audit.store import AuditStore
from app.audit.verify import verify_trail
from app.config.catalog import load_catalog
from app.config.settings import LiteLLMSettings
from app.dialects.base import Usage
from app.ledger.book import Reserve, Settle, Spend
from app.ledger.store import LedgerStore
from app.reconciliation.compare import Amounts
from app.services.reconciliation_service import ReconciliationService
from app.services.token_service import cost_of
from app.utils.exceptions import DatabaseUnavailableError
from tests.audit.test_usage import erase
from tests.audit.trails import KEYS, PRESENT, ZONE, changed
from tests.fakes.clock import FakeClock
from tests.reconciliation.days import DAY, DEMAND, Day, moment_of, request_id

CATALOG = load_catalog(LiteLLMSettings().config_path)
ESTIMATE = {"usage": None, "cost_micro_usd": 9_000, "is_estimated": True}
HELD = Spend(1_000, 9_000)
HOLDS = "SELECT request_id, posted, coalesce(credited, '[0, 0, 0]'), is_estimated FROM holds"
LINES = """
    SELECT metric, sum(posted)::int, sum(credited)::int FROM budget_lines
    JOIN budgets ON budgets.id = budget_id GROUP BY metric
"""
USED = "SELECT sum(input_tokens)::int, sum(output_tokens)::int, sum(cost_micro_usd)::int FROM {}"
TABLES = """
    TRUNCATE audit_events, audit_checkpoints, audit_names, usage_days, usage_months,
      litellm_events, reconciliations, holds, budget_lines
"""


def charged(day: Day) -> dict[str, tuple[int, int]]:
    """Return tokens and micro-USD of each hold, less what was given back."""
    return {
        hold: (posted[0] - credited[0], posted[1] - credited[1])
        for hold, posted, credited, _ in day.rows(HOLDS)
    }


def lines(day: Day) -> dict[str, tuple[int, int]]:
    return {metric: (posted, credited) for metric, posted, credited in day.rows(LINES)}


def adjustments(engine: Engine) -> list[Any]:
    return TrailQueries(engine).events(EventFilter(event="adjustment"))


def used(day: Day) -> list[tuple[int, ...]]:
    """Return the sums that were kept, by day and by month."""
    return [day.rows(USED.format(table))[0] for table in ("usage_days", "usage_months")]


def test_estimate_that_was_too_high_gives_room_back_beside_what_is_posted(
    day: Day, service: ReconciliationService
) -> None:
    it = day.add(request_id(1), ESTIMATE, {})
    day.hold(it, HELD)
    day.write()

    found = service.reconcile(DAY)

    assert lines(day) == {"tokens": (1_000, 880), "cost": (9_000, 7_000), "requests": (1, 0)}
    assert (found.matched, found.adjusted, found.adjusted_micro_usd) == (1, 1, -7_000)


def test_estimate_that_was_too_low_has_the_rest_posted(
    day: Day, service: ReconciliationService
) -> None:
    it = day.add(request_id(1), {**ESTIMATE, "cost_micro_usd": 500}, {})
    day.hold(it, Spend(30, 500))
    day.write()

    service.reconcile(DAY)

    assert lines(day) == {"tokens": (120, 0), "cost": (2_000, 0), "requests": (1, 0)}


def test_correction_is_on_record_with_before_and_after_and_counts_on_its_day(
    day: Day, engine: Engine, service: ReconciliationService
) -> None:
    it = day.add(request_id(1), {**ESTIMATE, "usage": Usage(100, 900)}, {})
    day.hold(it, HELD)
    day.write()

    service.reconcile(DAY)

    (event,) = adjustments(engine)
    assert (event.request_id, event.user, event.team, event.key) == (
        it,
        "ana",
        "sales",
        "librechat",
    )
    assert (event.input_tokens, event.output_tokens, event.cost) == (0, -880, -7_000)
    before, after = Amounts(100, 900, 9_000), Amounts(100, 20, 2_000)
    assert (event.detail["before"], event.detail["after"]) == (before._asdict(), after._asdict())
    assert (event.detail["by"], event.detail["reason"]) == ("system", "exact_usage")
    assert used(day) == [after, after]
    assert recount(engine, ZONE).is_good


def test_attempts_are_corrected_each_by_the_answer_of_its_own_model(
    day: Day, engine: Engine, service: ReconciliationService
) -> None:
    """The first model was given up, and answered all the same; the second one was counted."""
    it = request_id(1)
    day.hold(it, HELD, "gpt-4")
    day.hold(f"{it}.2", Spend(120, 2_000), is_estimated=False)
    both = {"cost_micro_usd": 11_000, "is_estimated": True, "model": "gpt-4"}
    day.add(it, {**both, "model_used": "gpt-4o"}, {})
    first = {"id": f"{it}:first", "model": "gpt-4", "output_tokens": 50, "cost_micro_usd": 6_000}
    day.add(it, None, first)
    day.write()

    found = service.reconcile(DAY)

    assert charged(day) == {it: (150, 6_000), f"{it}.2": (120, 2_000)}
    assert used(day)[0] == (200, 70, 8_000)
    assert (found.matched, found.differing) == (1, 0)


def test_call_of_a_worker_that_was_lost_is_corrected(
    day: Day, engine: Engine, service: ReconciliationService
) -> None:
    it = request_id(1)
    day.hold(it, None)
    lost = {"status": None, "detail": {"reason": "worker_lost", "tokens": 1_000}}
    day.add(it, {**ESTIMATE, "cost_micro_usd": 7_400, **lost}, {})
    day.write()

    service.reconcile(DAY)

    assert charged(day) == {it: (120, 2_000)}
    assert used(day)[0] == (100, 20, 2_000)


def test_answer_of_the_only_model_is_known_by_whatever_name(
    day: Day, service: ReconciliationService
) -> None:
    it = day.add(request_id(1), ESTIMATE, {"model": "openai/gpt-4o-2024-08-06"})
    day.hold(it, HELD)
    day.write()

    service.reconcile(DAY)

    assert charged(day) == {it: (120, 2_000)}


def test_answer_from_the_cache_is_corrected_to_nothing(
    day: Day, service: ReconciliationService
) -> None:
    it = day.add(request_id(1), ESTIMATE, {"is_cached": True, "cost_micro_usd": 0})
    day.hold(it, HELD)
    day.write()

    found = service.reconcile(DAY)

    assert charged(day) == {it: (0, 0)}
    assert (found.matched, used(day)[0]) == (1, (0, 0, 0))


def test_answer_from_the_cache_adds_nothing_to_what_another_model_took(
    day: Day, service: ReconciliationService
) -> None:
    it = day.add(request_id(1), {}, {})
    day.add(it, None, {"id": f"{it}:first", "model": "gpt-4", "is_cached": True})
    day.write()

    found = service.reconcile(DAY)

    assert (found.matched, found.differing) == (1, 0)


def test_call_that_no_budget_was_held_for_is_corrected_on_record_alone(
    day: Day, service: ReconciliationService
) -> None:
    day.add(request_id(1), ESTIMATE, {})
    day.write()

    service.reconcile(DAY)

    assert used(day)[0] == (100, 20, 2_000)


@pytest.mark.parametrize("unknown", [None, 0])
def test_where_litellm_knows_no_price_ours_is_taken(
    day: Day, service: ReconciliationService, unknown: int | None
) -> None:
    it = day.add(request_id(1), ESTIMATE, {"cost_micro_usd": unknown})
    day.hold(it, HELD)
    day.write()

    service.reconcile(DAY)

    assert charged(day) == {it: (120, cost_of(CATALOG.models["gpt-4o"], Usage(100, 20)))}


def test_estimate_of_litellm_corrects_nothing(
    day: Day, engine: Engine, service: ReconciliationService
) -> None:
    it = day.add(request_id(1), ESTIMATE, {"status": "client_left", "input_tokens": 8})
    day.hold(it, HELD)
    day.write()

    found = service.reconcile(DAY)

    assert (charged(day), adjustments(engine)) == ({it: (1_000, 9_000)}, [])
    assert (found.matched, found.estimated) == (1, 1)


def test_call_that_the_ledger_still_holds_is_corrected_later(
    day: Day, service: ReconciliationService
) -> None:
    it = day.add(request_id(1), ESTIMATE, {})
    day.ledger.apply([Reserve(it, "gpt-4o", (), DEMAND, moment_of(it))])
    day.write()

    early = service.reconcile(DAY)
    day.ledger.apply([Settle(it, HELD, is_estimated=True)])
    late = service.reconcile(DAY)

    assert (early.differing, early.adjusted) == (1, 0)
    assert (late.differing, late.adjusted) == (0, 1)
    assert charged(day)[it] == (120, 2_000)


class BrokenTrail(AuditStore):
    """Fails the first time that something goes on record."""

    has_failed = False

    def append_in(self, cursor: Any, events: Sequence[AuditEvent]) -> Any:
        if not self.has_failed:
            self.has_failed = True
            raise DatabaseUnavailableError
        return super().append_in(cursor, events)


def test_run_that_broke_off_between_ledger_and_trail_is_finished_by_the_next(
    day: Day, engine: Engine, clock: FakeClock
) -> None:
    trail = BrokenTrail(engine, AuditKey.of(PRESENT), ZONE)
    service = ReconciliationService(engine, day.ledger, trail, CATALOG, ZONE, clock)
    it = day.add(request_id(1), ESTIMATE, {})
    day.hold(it, HELD)
    day.write()

    with pytest.raises(DatabaseUnavailableError):
        service.reconcile(DAY)
    service.reconcile(DAY)

    assert (charged(day), len(adjustments(engine))) == ({it: (120, 2_000)}, 1)
    assert used(day)[0] == (100, 20, 2_000)


def test_call_of_a_person_who_was_erased_is_corrected_without_their_name(
    day: Day, engine: Engine, service: ReconciliationService
) -> None:
    day.add(request_id(1), ESTIMATE, {})
    day.write()
    erase(engine, "ana")

    service.reconcile(DAY)

    (event,) = adjustments(engine)
    assert (event.user, event.team) == (None, "sales")
    assert day.rows("SELECT count(*) FROM audit_names WHERE value = 'ana'") == [(0,)]
    assert verify_trail(engine, AuditKeys([PRESENT])).finding is None


def test_correction_of_a_closed_month_stands_beside_it(
    day: Day, engine: Engine, service: ReconciliationService
) -> None:
    october = date(2026, 10, 31)
    made = datetime(2026, 10, 31, 15, tzinfo=ZONE)
    day.add(request_id(1, made), ESTIMATE, {})
    day.write()
    closing, now = Closing(engine, KEYS, ZONE), made + timedelta(days=2)
    before = closing.statement(october.replace(day=1), now)

    service.reconcile(october)

    after = closing.statement(october.replace(day=1), now)
    assert after.lines == before.lines
    assert [it.sums.cost_micro_usd for it in after.corrections] == [-7_000]


@dataclass
class Made:
    """A call whose truth is known."""

    estimate: tuple[int, int]
    truth: tuple[int, int, int]
    is_estimated: bool


AMOUNTS = st.integers(0, 10**6)
MADE = st.builds(
    Made,
    st.tuples(AMOUNTS, AMOUNTS),
    st.tuples(st.integers(1, 10**6), AMOUNTS, st.integers(1, 10**6)),
    st.booleans(),
)


@given(st.lists(MADE, min_size=1, max_size=12))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_corrected_ledger_is_the_truth(
    engine: Engine, store: AuditStore, service: ReconciliationService, made: list[Made]
) -> None:
    with changed(engine, keep=True) as cursor:
        cursor.execute(TABLES)
    ledger = LedgerStore(engine)
    day = Day(engine, store, ledger)
    truth: dict[str, tuple[int, int]] = {}
    for number, it in enumerate(made):
        given, written, cost = it.truth
        exact = (given + written, cost)
        settled = it.estimate if it.is_estimated else exact
        ours = {
            "usage": None if it.is_estimated else Usage(given, written),
            "cost_micro_usd": settled[1],
            "is_estimated": it.is_estimated,
        }
        name = day.add(
            request_id(number),
            ours,
            {"input_tokens": given, "output_tokens": written, "cost_micro_usd": cost},
        )
        day.hold(name, Spend(*settled), is_estimated=it.is_estimated)
        truth[name] = exact
    day.write()

    found = [service.reconcile(DAY), service.reconcile(DAY)]

    tokens, cost = (sum(it[index] for it in truth.values()) for index in (0, 1))
    assert charged(day) == truth
    assert {name: posted - credited for name, (posted, credited) in lines(day).items()} == {
        "tokens": tokens,
        "cost": cost,
        "requests": len(made),
    }
    assert [sum(it[:2]) for it in used(day)] == [tokens, tokens]
    assert [it[2] for it in used(day)] == [cost, cost]
    assert [it.matched for it in found] == [len(made)] * 2
    assert recount(engine, ZONE).is_good
    ledger.close()
