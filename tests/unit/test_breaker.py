from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.breaker import TRIAL_LIFETIME_S, Breaker, BreakerState

THRESHOLD = 3
COOLDOWN_S = 10.0
NOW_S = 1000.0


def closed(failures: int = 0) -> Breaker:
    breaker = Breaker(THRESHOLD, COOLDOWN_S)
    for _ in range(failures):
        breaker.fail(NOW_S)
    return breaker


def opened() -> Breaker:
    return closed(failures=THRESHOLD)


# Closed


def test_breaker_that_is_new_admits_everyone() -> None:
    breaker = closed()

    assert all(breaker.admit(NOW_S) for _ in range(5))


def test_failures_below_the_threshold_do_not_open_it() -> None:
    breaker = closed(failures=THRESHOLD - 2)

    assert breaker.fail(NOW_S) is False
    assert breaker.state(NOW_S) is BreakerState.CLOSED


def test_failure_that_reaches_the_threshold_opens_it() -> None:
    breaker = closed(failures=THRESHOLD - 1)

    assert breaker.fail(NOW_S) is True
    assert breaker.state(NOW_S) is BreakerState.OPEN


def test_success_of_a_closed_breaker_closes_nothing() -> None:
    assert closed(failures=THRESHOLD - 1).succeed() is False


def test_success_begins_the_count_of_failures_anew() -> None:
    breaker = closed(failures=THRESHOLD - 1)
    breaker.succeed()

    assert [breaker.fail(NOW_S) for _ in range(THRESHOLD)] == [False, False, True]


def test_threshold_of_one_opens_with_the_first_failure() -> None:
    assert Breaker(1, COOLDOWN_S).fail(NOW_S) is True


# Open


@pytest.mark.parametrize("passed_s", [0.0, COOLDOWN_S - 0.001])
def test_open_breaker_before_its_cooldown_is_over_admits_nobody(passed_s: float) -> None:
    assert opened().admit(NOW_S + passed_s) is False


def test_open_breaker_after_its_cooldown_admits_exactly_one() -> None:
    breaker = opened()

    admitted = [breaker.admit(NOW_S + COOLDOWN_S) for _ in range(5)]

    assert admitted == [True, False, False, False, False]


def test_state_asked_for_takes_no_trial() -> None:
    breaker = opened()

    assert breaker.state(NOW_S + COOLDOWN_S) is BreakerState.HALF_OPEN
    assert breaker.admit(NOW_S + COOLDOWN_S) is True


def test_success_of_the_trial_closes_it() -> None:
    breaker = opened()
    breaker.admit(NOW_S + COOLDOWN_S)

    assert breaker.succeed() is True
    assert breaker.state(NOW_S + COOLDOWN_S) is BreakerState.CLOSED


def test_breaker_that_was_closed_by_a_trial_takes_all_failures_to_open_again() -> None:
    breaker = opened()
    breaker.succeed()

    assert [breaker.fail(NOW_S) for _ in range(THRESHOLD)] == [False, False, True]


def test_failure_of_the_trial_begins_another_cooldown() -> None:
    breaker = opened()
    later_s = NOW_S + COOLDOWN_S
    breaker.admit(later_s)
    breaker.fail(later_s, is_trial=True)

    assert breaker.admit(later_s + COOLDOWN_S - 0.001) is False
    assert breaker.admit(later_s + COOLDOWN_S) is True


def test_trial_that_is_abandoned_makes_room_for_another() -> None:
    breaker = opened()
    later_s = NOW_S + COOLDOWN_S
    breaker.admit(later_s)
    breaker.abandon()

    assert [breaker.admit(later_s) for _ in range(2)] == [True, False]


def test_trial_of_which_nothing_is_heard_makes_room_when_its_life_is_over() -> None:
    breaker = opened()
    later_s = NOW_S + COOLDOWN_S
    breaker.admit(later_s)

    assert breaker.admit(later_s + TRIAL_LIFETIME_S - 0.001) is False
    assert breaker.admit(later_s + TRIAL_LIFETIME_S) is True


def test_closed_breaker_that_is_abandoned_stays_as_it_is() -> None:
    breaker = closed(failures=THRESHOLD - 1)
    breaker.abandon()

    assert breaker.fail(NOW_S) is True


# Any history


steps = st.tuples(
    st.sampled_from(["admit", "succeed", "fail", "abandon", "wait"]),
    st.sampled_from([0.0, 0.1, COOLDOWN_S / 2, COOLDOWN_S, TRIAL_LIFETIME_S]),
)


@given(st.lists(steps, max_size=60))
def test_breaker_under_any_history_admits_all_while_closed_and_one_while_open(
    history: list[tuple[str, float]],
) -> None:
    breaker, now_s = closed(), NOW_S
    trial_at_s: float | None = None
    for step, seconds in history:
        if step == "wait":
            now_s += seconds
        elif step == "admit":
            state = breaker.state(now_s)
            is_tried = trial_at_s is not None and now_s - trial_at_s < TRIAL_LIFETIME_S
            admitted = breaker.admit(now_s)
            assert admitted is (
                state is BreakerState.CLOSED or (state is BreakerState.HALF_OPEN and not is_tried)
            )
            if admitted and state is BreakerState.HALF_OPEN:
                trial_at_s = now_s
        else:
            trial_at_s = None
            tell(breaker, step, now_s)


def tell(breaker: Breaker, outcome: str, now_s: float) -> None:
    if outcome == "succeed":
        breaker.succeed()
    elif outcome == "fail":
        breaker.fail(now_s)
    else:
        breaker.abandon()


@given(st.lists(steps, max_size=60))
def test_breaker_under_any_history_is_open_only_after_failures_in_a_row(
    history: list[tuple[str, float]],
) -> None:
    breaker, in_a_row, was_opened = closed(), 0, False
    for step, _ in history:
        if step in ("succeed", "fail", "abandon"):
            tell(breaker, step, NOW_S)
        in_a_row = 0 if step == "succeed" else in_a_row + (step == "fail")
        was_opened = step != "succeed" and (was_opened or in_a_row >= THRESHOLD)

        assert (breaker.state(NOW_S) is not BreakerState.CLOSED) is was_opened
