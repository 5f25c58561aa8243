from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.outcome_window import BUCKET_S, BUCKETS, Outcomes, OutcomeWindow

NOW_S = 1_700_000_000.0 - 1_700_000_000.0 % BUCKET_S
WINDOW_S = BUCKET_S * BUCKETS


def test_window_without_calls_is_empty() -> None:
    totals = OutcomeWindow().totals(NOW_S)

    assert totals == Outcomes(0, 0, 0)
    assert (totals.error_rate, totals.mean_latency_ms) == (0.0, None)


def test_window_adds_up_what_came() -> None:
    window = OutcomeWindow()
    window.add(Outcomes(1, 0, 100), NOW_S)
    window.add(Outcomes(1, 1, 0), NOW_S + BUCKET_S)
    window.add(Outcomes(1, 0, 300), NOW_S + 2 * BUCKET_S)

    totals = window.totals(NOW_S + 2 * BUCKET_S)

    assert totals == Outcomes(3, 1, 400)
    assert totals.error_rate == pytest.approx(1 / 3)
    assert totals.mean_latency_ms == 200


def test_latency_of_failures_alone_is_unknown() -> None:
    assert Outcomes(2, 2, 0).mean_latency_ms is None


def test_window_that_slides_forgets_its_oldest_step_only() -> None:
    window = OutcomeWindow()
    window.add(Outcomes(1, 0, 100), NOW_S)
    window.add(Outcomes(1, 0, 300), NOW_S + BUCKET_S)

    assert window.totals(NOW_S + WINDOW_S - 1).requests == 2
    assert window.totals(NOW_S + WINDOW_S) == Outcomes(1, 0, 300)


def test_window_without_calls_for_long_is_empty_again() -> None:
    window = OutcomeWindow()
    window.add(Outcomes(1, 1, 0), NOW_S)

    assert window.totals(NOW_S + 10 * WINDOW_S) == Outcomes()


def test_totals_that_are_added_to_leave_the_window_alone() -> None:
    window = OutcomeWindow()
    window.add(Outcomes(1, 0, 100), NOW_S)
    window.totals(NOW_S).add(Outcomes(5, 5, 0))

    assert window.totals(NOW_S) == Outcomes(1, 0, 100)


def test_outcome_that_is_added_is_not_kept_itself() -> None:
    window, outcome = OutcomeWindow(), Outcomes(1, 0, 100)
    window.add(outcome, NOW_S)
    outcome.add(Outcomes(5, 5, 0))

    assert window.totals(NOW_S) == Outcomes(1, 0, 100)


@given(
    st.lists(st.tuples(st.floats(0, 2 * WINDOW_S), st.booleans()), max_size=40),
    st.floats(0, 2 * WINDOW_S),
)
def test_window_of_any_calls_counts_the_recent_and_forgets_the_old(
    calls: list[tuple[float, bool]], quiet_s: float
) -> None:
    window, now_s = OutcomeWindow(), NOW_S
    for pause_s, is_failure in calls:
        now_s += pause_s
        window.add(Outcomes(1, int(is_failure), 0 if is_failure else 7), now_s)
    seen_at_s = [NOW_S + sum(pause for pause, _ in calls[: i + 1]) for i in range(len(calls))]
    end_s = now_s + quiet_s

    totals = window.totals(end_s)

    recent = sum(end_s - at_s < WINDOW_S - BUCKET_S - 1 for at_s in seen_at_s)
    not_old = sum(end_s - at_s < WINDOW_S + 1 for at_s in seen_at_s)
    assert recent <= totals.requests <= not_old
    assert totals.latency_ms == 7 * (totals.requests - totals.failures)
