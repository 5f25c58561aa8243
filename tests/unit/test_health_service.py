from __future__ import annotations

import pytest

from app.services.health_service import HealthService, ModelHealth, ModelStatus
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(clock: FakeClock) -> HealthService:
    return HealthService(clock)


def test_model_never_heard_of_is_unavailable(health: HealthService) -> None:
    assert health.of("gpt-4") == ModelHealth(ModelStatus.UNAVAILABLE)


def test_model_asked_about_is_not_thereby_known(health: HealthService) -> None:
    health.of("gpt-4")

    assert health.count(ModelStatus.UNAVAILABLE) == 0


def test_model_that_answered_is_healthy(health: HealthService, clock: FakeClock) -> None:
    health.record_success("gpt-4", 120)

    assert health.of("gpt-4") == ModelHealth(ModelStatus.HEALTHY, clock.now(), 120, 1, 0)


def test_model_that_failed_is_unhealthy(health: HealthService) -> None:
    health.record_failure("gpt-4")

    assert health.of("gpt-4").status is ModelStatus.UNHEALTHY


def test_model_that_is_rate_limited_is_told_apart(health: HealthService) -> None:
    health.record_failure("gpt-4", ModelStatus.RATE_LIMITED)

    assert health.of("gpt-4").status is ModelStatus.RATE_LIMITED


def test_model_that_failed_is_healthy_after_its_next_answer(health: HealthService) -> None:
    health.record_failure("gpt-4")
    health.record_success("gpt-4", 90)

    assert health.of("gpt-4").status is ModelStatus.HEALTHY


def test_error_rate_is_the_share_of_failures(health: HealthService) -> None:
    health.record_success("gpt-4", 90)
    for _ in range(3):
        health.record_failure("gpt-4")

    assert health.of("gpt-4").error_rate == 0.75


def test_error_rate_of_a_model_never_called_is_zero(health: HealthService) -> None:
    assert health.of("gpt-4").error_rate == 0.0


def test_last_check_is_the_time_of_the_last_outcome(
    health: HealthService, clock: FakeClock
) -> None:
    health.record_success("gpt-4", 90)
    clock.advance(60)
    health.record_failure("gpt-4")

    assert health.of("gpt-4").last_check == clock.now()


def test_model_offered_is_well_until_a_call_shows_otherwise(health: HealthService) -> None:
    health.record_offered({"gpt-4"})

    assert health.of("gpt-4").status is ModelStatus.HEALTHY
    assert health.of("gpt-4").requests == 0


def test_model_offered_after_a_failure_stays_unhealthy(health: HealthService) -> None:
    health.record_failure("gpt-4")
    health.record_offered({"gpt-4"})

    assert health.of("gpt-4").status is ModelStatus.UNHEALTHY


def test_models_are_counted_by_status(health: HealthService) -> None:
    health.record_offered({"a", "b"})
    health.record_failure("c")

    assert (health.count(ModelStatus.HEALTHY), health.count(ModelStatus.UNHEALTHY)) == (2, 1)


def test_health_forgotten_knows_nothing(health: HealthService) -> None:
    health.record_failure("gpt-4")
    health.forget()

    assert health.of("gpt-4") == ModelHealth()
