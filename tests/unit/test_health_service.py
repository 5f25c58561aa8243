from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.catalog import HealthPolicy
from app.services.breaker import TRIAL_LIFETIME_S
from app.services.health_service import (
    LITELLM,
    RATE_LIMIT_S,
    HealthService,
    ModelStatus,
    Permit,
    Refusal,
    Verdict,
)
from tests.fakes.clock import FakeClock

MODEL = "gpt-4"
POLICY = HealthPolicy(check_interval_s=60, unhealthy_threshold=3, cooldown_s=10)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> HealthService:
    return HealthService(POLICY, clock)


def admit(health: HealthService, model: str = MODEL) -> Permit | Refusal:
    return asyncio.run(health.admit(model))


def permit(health: HealthService) -> Permit:
    admitted = admit(health)
    assert isinstance(admitted, Permit)
    return admitted


def fail(health: HealthService, times: int = POLICY.unhealthy_threshold) -> None:
    for _ in range(times):
        health.record_failure(MODEL, "upstream_error")


# What is known


def test_model_never_heard_of_is_unavailable(health: HealthService) -> None:
    assert health.of(MODEL).status is ModelStatus.UNAVAILABLE


def test_model_asked_about_is_not_thereby_known(health: HealthService) -> None:
    health.of(MODEL)

    assert health.count(ModelStatus.UNAVAILABLE) == 0


def test_model_that_answered_is_healthy(health: HealthService, clock: FakeClock) -> None:
    health.record_success(MODEL, 120)

    known = health.of(MODEL)
    assert (known.status, known.last_check) == (ModelStatus.HEALTHY, clock.now())
    assert known.outcomes.mean_latency_ms == 120


def test_outcomes_of_the_last_minutes_make_the_error_rate(health: HealthService) -> None:
    for _ in range(3):
        health.record_success(MODEL, 100)
    health.record_failure(MODEL, "upstream_error")

    assert health.of(MODEL).outcomes.error_rate == 0.25


def test_outcomes_of_long_ago_are_forgotten(health: HealthService, clock: FakeClock) -> None:
    fail(health, times=2)
    clock.advance(301)

    assert health.of(MODEL).outcomes.requests == 0


def test_model_that_litellm_lists_is_healthy(health: HealthService) -> None:
    health.record_offered({MODEL}, {MODEL, "gpt-5"})

    assert health.of(MODEL).status is ModelStatus.HEALTHY
    assert health.of("gpt-5").status is ModelStatus.UNAVAILABLE


def test_model_that_litellm_lists_no_more_is_unavailable(health: HealthService) -> None:
    health.record_offered({MODEL}, {MODEL})
    health.record_offered(set(), {MODEL})

    assert health.of(MODEL).status is ModelStatus.UNAVAILABLE


def test_litellm_itself_is_not_counted_as_a_model(health: HealthService) -> None:
    health.record_alive(LITELLM)

    assert health.count(ModelStatus.HEALTHY) == 0


# The breaker


def test_failures_below_the_threshold_shut_nobody_out(health: HealthService) -> None:
    fail(health, times=2)

    assert isinstance(admit(health), Permit)


def test_failures_up_to_the_threshold_shut_the_model_out(
    health: HealthService, clock: FakeClock
) -> None:
    fail(health)

    known = health.of(MODEL)
    assert admit(health) == Refusal("breaker_open")
    assert (known.status, known.reason) == (ModelStatus.UNHEALTHY, "upstream_error")
    assert known.since == clock.now()


def test_success_between_failures_begins_the_count_anew(health: HealthService) -> None:
    fail(health, times=2)
    health.record_success(MODEL, 1)
    fail(health, times=2)

    assert isinstance(admit(health), Permit)


def test_cooldown_over_lets_exactly_one_call_try(health: HealthService, clock: FakeClock) -> None:
    fail(health)
    clock.advance(POLICY.cooldown_s)

    admitted = [isinstance(admit(health), Permit) for _ in range(5)]

    assert admitted == [True, False, False, False, False]


def test_trial_that_succeeds_lets_everyone_in(health: HealthService, clock: FakeClock) -> None:
    fail(health)
    clock.advance(POLICY.cooldown_s)
    permit(health).succeeded()

    assert all(isinstance(admit(health), Permit) for _ in range(3))
    assert health.of(MODEL).status is ModelStatus.HEALTHY


def test_trial_that_fails_shuts_the_model_out_again(
    health: HealthService, clock: FakeClock
) -> None:
    fail(health)
    clock.advance(POLICY.cooldown_s)
    permit(health).failed("upstream_error")

    assert admit(health) == Refusal("breaker_open")


def test_trial_without_a_verdict_leaves_it_to_another(
    health: HealthService, clock: FakeClock
) -> None:
    fail(health)
    clock.advance(POLICY.cooldown_s)
    permit(health).release()

    assert isinstance(admit(health), Permit)


def test_trial_that_never_ends_does_not_keep_others_out_for_ever(
    health: HealthService, clock: FakeClock
) -> None:
    fail(health)
    clock.advance(POLICY.cooldown_s)
    permit(health)
    clock.advance(TRIAL_LIFETIME_S)

    assert isinstance(admit(health), Permit)


def test_permit_released_after_its_verdict_changes_nothing(
    health: HealthService, clock: FakeClock
) -> None:
    fail(health)
    clock.advance(POLICY.cooldown_s)
    trial = permit(health)
    trial.failed("upstream_error")
    trial.release()

    assert admit(health) == Refusal("breaker_open")


@given(st.lists(st.sampled_from(["admit", "succeed", "fail", "release", "wait"]), max_size=40))
def test_open_breaker_under_any_history_never_has_two_trials(history: list[str]) -> None:
    clock = FakeClock()
    health = HealthService(POLICY, clock)
    fail(health)
    trials: list[Permit] = []
    for step in history:
        if step == "wait":
            # Shorter than a trial lives, so that none ends by itself.
            clock.advance(POLICY.cooldown_s / 10)
        elif step == "admit" and health.of(MODEL).status is ModelStatus.UNHEALTHY:
            admitted = admit(health)
            trials += [admitted] if isinstance(admitted, Permit) else []
        elif trials and step == "succeed":
            trials.pop().succeeded()
        elif trials and step == "fail":
            trials.pop().failed("upstream_error")
        elif trials and step == "release":
            trials.pop().release()
        assert len(trials) <= 1


# Rate limits


def test_rate_limit_shuts_the_model_out_until_its_time(
    health: HealthService, clock: FakeClock
) -> None:
    permit(health).rate_limited(7.0)
    clock.advance(6)
    refused = admit(health)
    clock.advance(1)

    assert isinstance(refused, Refusal)
    assert refused.reason == "rate_limited"
    assert refused.left_s == pytest.approx(1.0)
    assert isinstance(admit(health), Permit)


def test_rate_limit_without_a_time_is_short(health: HealthService, clock: FakeClock) -> None:
    permit(health).rate_limited(None)
    status = health.of(MODEL).status
    clock.advance(RATE_LIMIT_S)

    assert status is ModelStatus.RATE_LIMITED
    assert isinstance(admit(health), Permit)


# Other workers


def test_verdict_of_another_worker_that_is_newer_is_believed(
    health: HealthService, clock: FakeClock
) -> None:
    now_s = clock.now().timestamp()
    health.adopt(MODEL, Verdict(now_s, 0.0, "upstream_error", now_s))

    assert admit(health) == Refusal("breaker_open")


def test_verdict_of_another_worker_that_is_older_is_not(
    health: HealthService, clock: FakeClock
) -> None:
    before_s = clock.now().timestamp() - 1
    fail(health)
    health.adopt(MODEL, Verdict(None, 0.0, None, before_s))

    assert admit(health) == Refusal("breaker_open")


def test_failures_of_all_workers_together_open_the_breaker(health: HealthService) -> None:
    health.share_failures(MODEL, POLICY.unhealthy_threshold)

    assert admit(health) == Refusal("breaker_open")


def test_forgetting_lets_everyone_in(health: HealthService) -> None:
    fail(health)
    health.forget()

    assert isinstance(admit(health), Permit)
