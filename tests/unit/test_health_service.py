from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
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
from app.services.outcome_window import Outcomes
from tests.fakes.board import FakeBoard
from tests.fakes.clock import FakeClock

MODEL = "gpt-4"
POLICY = HealthPolicy(check_interval_s=60, unhealthy_threshold=3, cooldown_s=10)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def board() -> FakeBoard:
    return FakeBoard()


@pytest.fixture
def health(clock: FakeClock, board: FakeBoard) -> HealthService:
    return HealthService(POLICY, clock, board)


def admit(health: HealthService, model: str = MODEL) -> Permit | Refusal:
    return asyncio.run(health.admit(model))


def permit(health: HealthService) -> Permit:
    admitted = admit(health)
    assert isinstance(admitted, Permit)
    return admitted


def fail(health: HealthService, times: int = POLICY.unhealthy_threshold) -> None:
    for _ in range(times):
        health.record_failure(MODEL, "upstream_error")


def admits(health: HealthService) -> bool:
    return isinstance(admit(health), Permit)


def shut_out(health: HealthService, clock: FakeClock) -> None:
    """Have the model fail until it is left out, and its cooldown be over."""
    fail(health)
    clock.advance(POLICY.cooldown_s)


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


def test_model_that_litellm_lists_again_is_healthy(health: HealthService) -> None:
    for offered in ({MODEL}, set(), {MODEL}):
        health.record_offered(offered, {MODEL})

    assert health.of(MODEL).status is ModelStatus.HEALTHY


def test_model_that_litellm_lists_is_not_thereby_well_again(health: HealthService) -> None:
    fail(health)
    health.record_offered({MODEL}, {MODEL})

    assert health.of(MODEL).status is ModelStatus.UNHEALTHY
    assert admit(health) == Refusal("breaker_open")


def test_model_that_is_well_has_neither_reason_nor_since(health: HealthService) -> None:
    fail(health)
    health.record_success(MODEL, 1)

    known = health.of(MODEL)
    assert (known.status, known.reason, known.since) == (ModelStatus.HEALTHY, None, None)


def test_model_is_unwell_for_its_last_reason(health: HealthService) -> None:
    fail(health, times=2)
    health.record_failure(MODEL, "upstream_timeout")

    assert health.of(MODEL).reason == "upstream_timeout"


def test_model_that_fails_below_the_threshold_is_no_healthier_than_it_was(
    health: HealthService,
) -> None:
    health.record_offered({MODEL}, {MODEL})
    fail(health, times=2)

    known = health.of(MODEL)
    assert (known.status, known.reason) == (ModelStatus.HEALTHY, None)
    assert (known.outcomes.requests, known.outcomes.failures) == (2, 2)


def test_outcomes_that_other_workers_saw_are_added(health: HealthService, board: FakeBoard) -> None:
    board.seen_by_others[MODEL] = Outcomes(3, 1, 600)
    health.record_success(MODEL, 300)

    assert health.of(MODEL).outcomes == Outcomes(4, 1, 900)
    assert health.own_outcomes() == {MODEL: Outcomes(1, 0, 300)}


def test_models_are_counted_by_their_status(health: HealthService) -> None:
    health.record_offered({"a", "b"}, {"a", "b", "c"})
    fail(health)

    counted = {status: health.count(status) for status in ModelStatus}
    assert counted == {
        ModelStatus.HEALTHY: 2,
        ModelStatus.UNAVAILABLE: 1,
        ModelStatus.UNHEALTHY: 1,
        ModelStatus.RATE_LIMITED: 0,
    }


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


def test_models_fail_each_for_themselves(health: HealthService) -> None:
    fail(health)

    assert isinstance(admit(health, "gpt-5"), Permit)


def test_failures_on_the_way_to_the_threshold_are_told_to_the_board(
    health: HealthService, board: FakeBoard
) -> None:
    fail(health, times=2)

    assert (board.failures, board.verdicts) == ({MODEL: 2}, [])


def test_success_takes_told_failures_back(health: HealthService, board: FakeBoard) -> None:
    fail(health, times=2)
    health.record_success(MODEL, 1)

    assert board.failures == {MODEL: 0}


def test_success_without_failures_before_tells_the_board_nothing(
    health: HealthService, board: FakeBoard
) -> None:
    health.record_success(MODEL, 1)

    assert (board.failures, board.verdicts) == ({}, [])


def test_breaker_that_opens_and_closes_is_told_to_the_board(
    health: HealthService, board: FakeBoard, clock: FakeClock
) -> None:
    fail(health)
    opened_at_s = clock.now().timestamp()
    clock.advance(POLICY.cooldown_s)
    permit(health).succeeded()

    closed_at_s = clock.now().timestamp()
    assert board.verdicts == [
        (MODEL, Verdict(opened_at_s, 0.0, "upstream_error", opened_at_s)),
        (MODEL, Verdict(None, 0.0, "upstream_error", closed_at_s)),
    ]


def test_trial_that_another_worker_has_is_not_taken(
    health: HealthService, board: FakeBoard, clock: FakeClock
) -> None:
    board.gives_trials = False
    shut_out(health, clock)

    assert admit(health) == Refusal("breaker_open")


def test_trial_is_asked_for_again_when_another_worker_had_it(
    health: HealthService, board: FakeBoard, clock: FakeClock
) -> None:
    board.gives_trials = False
    shut_out(health, clock)
    admit(health)
    board.gives_trials = True

    assert admits(health)


def test_board_is_asked_for_trials_only(
    health: HealthService, board: FakeBoard, clock: FakeClock
) -> None:
    admit(health)
    fail(health)
    admit(health)
    before = list(board.trials_asked)
    clock.advance(POLICY.cooldown_s)
    admit(health)

    assert (before, board.trials_asked) == ([], [MODEL])


def test_trial_without_a_verdict_is_given_back_to_the_board(
    health: HealthService, board: FakeBoard, clock: FakeClock
) -> None:
    shut_out(health, clock)
    permit(health).release()

    assert board.trials_given_back == [MODEL]


def test_call_that_leaves_while_it_asks_the_board_leaves_the_trial_to_another(
    clock: FakeClock,
) -> None:
    async def leave_then_admit() -> Permit | Refusal:
        board = FakeBoard()
        health = HealthService(POLICY, clock, board)
        shut_out(health, clock)
        board.answers.clear()
        leaver = asyncio.create_task(health.admit(MODEL))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        board.answers.set()
        return await health.admit(MODEL)

    assert isinstance(asyncio.run(leave_then_admit()), Permit)


def test_failure_of_a_call_from_before_does_not_end_the_trial(
    health: HealthService, clock: FakeClock
) -> None:
    earlier = permit(health)
    shut_out(health, clock)
    permit(health)
    earlier.failed("upstream_error")
    clock.advance(POLICY.cooldown_s)

    assert admit(health) == Refusal("breaker_open")


def test_rate_limit_of_a_call_from_before_does_not_end_the_trial(
    health: HealthService, clock: FakeClock
) -> None:
    earlier = permit(health)
    shut_out(health, clock)
    permit(health)
    earlier.rate_limited(1.0)
    clock.advance(1.0)

    assert admit(health) == Refusal("breaker_open")


def test_release_of_a_call_from_before_does_not_end_the_trial(
    health: HealthService, clock: FakeClock
) -> None:
    earlier = permit(health)
    shut_out(health, clock)
    permit(health)
    earlier.release()

    assert admit(health) == Refusal("breaker_open")


class History:
    """Calls made and ended in any order; ``trials`` are those under way while the model is left
    out, with the moment each was let in. It begins with calls from before the model failed."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.health = HealthService(POLICY, self.clock)
        self.calls = [permit(self.health) for _ in range(3)]
        self.trials: dict[Permit, float] = {}
        shut_out(self.health, self.clock)

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def admit(self) -> None:
        is_closed = self._is_closed
        admitted = admit(self.health)
        if is_closed:
            assert isinstance(admitted, Permit)
        if isinstance(admitted, Permit):
            self.calls.append(admitted)
            if not is_closed:
                self.trials[admitted] = self.clock.steady_s()

    def end(self, number: int, outcome: str) -> None:
        """End one of the calls under way."""
        if not self.calls:
            return
        call = self.calls.pop(number % len(self.calls))
        self.trials.pop(call, None)
        if outcome == "succeed":
            call.succeeded()
        elif outcome == "fail":
            call.failed("upstream_error")
        call.release()
        if self._is_closed:
            # What was a trial is a call as any other now.
            self.trials.clear()

    @property
    def living_trials(self) -> int:
        now_s = self.clock.steady_s()
        return sum(now_s - at_s < TRIAL_LIFETIME_S for at_s in self.trials.values())

    @property
    def _is_closed(self) -> bool:
        return self.health.of(MODEL).since is None


steps = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1.0, POLICY.cooldown_s, TRIAL_LIFETIME_S])),
    st.tuples(st.just("admit"), st.just(0)),
    st.tuples(st.sampled_from(["succeed", "fail", "leave"]), st.integers(0, 5)),
)


@settings(max_examples=500)
@given(st.lists(steps, max_size=30))
def test_model_under_any_history_has_one_trial_and_is_open_to_all_while_it_is_well(
    story: list[tuple[str, float]],
) -> None:
    history = History()
    for step, value in story:
        if step == "wait":
            history.wait(value)
        elif step == "admit":
            history.admit()
        else:
            history.end(int(value), step)
        assert history.living_trials <= 1


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


def test_rate_limit_is_told_to_the_board(
    health: HealthService, board: FakeBoard, clock: FakeClock
) -> None:
    permit(health).rate_limited(7.0)

    now_s = clock.now().timestamp()
    assert board.verdicts == [(MODEL, Verdict(None, now_s + 7.0, "rate_limited", now_s))]


def test_rate_limit_that_is_over_leaves_the_model_healthy(
    health: HealthService, clock: FakeClock
) -> None:
    health.record_success(MODEL, 1)
    permit(health).rate_limited(7.0)
    clock.advance(7)

    known = health.of(MODEL)
    assert (known.status, known.reason) == (ModelStatus.HEALTHY, None)


def test_rate_limits_in_a_row_open_no_breaker(health: HealthService, clock: FakeClock) -> None:
    for _ in range(POLICY.unhealthy_threshold):
        health.record_rate_limit(MODEL, 1.0)
    clock.advance(1)

    assert admits(health)
    assert health.of(MODEL).since is None


def test_rate_limit_outlasts_the_success_of_a_call_from_before(health: HealthService) -> None:
    earlier = permit(health)
    permit(health).rate_limited(60.0)
    earlier.succeeded()

    refused = admit(health)
    assert isinstance(refused, Refusal)
    assert refused.left_s == pytest.approx(60.0)


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


def test_verdict_of_another_worker_that_closed_the_breaker_is_believed(
    health: HealthService, clock: FakeClock
) -> None:
    fail(health)
    clock.advance(1)
    health.adopt(MODEL, Verdict(None, 0.0, None, clock.now().timestamp()))

    assert all(admits(health) for _ in range(3))
    assert health.of(MODEL).since is None


def test_verdict_that_closed_the_breaker_begins_the_count_anew(
    health: HealthService, clock: FakeClock
) -> None:
    fail(health, times=2)
    clock.advance(1)
    health.adopt(MODEL, Verdict(None, 0.0, None, clock.now().timestamp()))
    fail(health, times=2)

    assert admits(health)


def test_rate_limit_that_another_worker_heard_of_is_kept(
    health: HealthService, clock: FakeClock
) -> None:
    now_s = clock.now().timestamp()
    health.adopt(MODEL, Verdict(None, now_s + 9, "rate_limited", now_s))

    refused = admit(health)
    assert isinstance(refused, Refusal)
    assert refused.left_s == pytest.approx(9.0)
    assert health.of(MODEL).reason == "rate_limited"


def test_verdict_that_is_heard_twice_is_believed_once(
    health: HealthService, clock: FakeClock
) -> None:
    now_s = clock.now().timestamp()
    verdict = Verdict(now_s, 0.0, "upstream_error", now_s)
    health.adopt(MODEL, verdict)
    clock.advance(POLICY.cooldown_s)
    permit(health).succeeded()
    health.adopt(MODEL, verdict)

    assert admits(health)


def test_verdict_of_another_worker_leads_to_one_trial_after_the_cooldown(
    health: HealthService, clock: FakeClock
) -> None:
    now_s = clock.now().timestamp()
    health.adopt(MODEL, Verdict(now_s, 0.0, "upstream_error", now_s))
    clock.advance(POLICY.cooldown_s)

    assert [admits(health) for _ in range(3)] == [True, False, False]


def test_failures_of_all_workers_below_the_threshold_shut_nobody_out(
    health: HealthService,
) -> None:
    health.share_failures(MODEL, POLICY.unhealthy_threshold - 1)

    assert admits(health)


def test_failures_of_all_workers_that_opened_the_breaker_are_told_once(
    health: HealthService, board: FakeBoard
) -> None:
    for _ in range(3):
        health.share_failures(MODEL, POLICY.unhealthy_threshold)

    assert len(board.verdicts) == 1


def test_success_takes_the_failures_of_all_workers_back(
    health: HealthService, board: FakeBoard
) -> None:
    health.share_failures(MODEL, 1)
    health.record_success(MODEL, 1)

    assert board.failures == {MODEL: 0}


def test_failures_of_all_workers_together_open_the_breaker(health: HealthService) -> None:
    health.share_failures(MODEL, POLICY.unhealthy_threshold)

    assert admit(health) == Refusal("breaker_open")


def test_forgetting_lets_everyone_in(health: HealthService) -> None:
    fail(health)
    health.forget()

    assert isinstance(admit(health), Permit)


def test_forgetting_ends_rate_limits_too(health: HealthService) -> None:
    health.record_rate_limit(MODEL, 60)
    health.forget()

    assert admits(health)
    assert health.of(MODEL).outcomes == Outcomes()


def test_forgetting_is_told_to_the_board(health: HealthService, board: FakeBoard) -> None:
    fail(health, times=2)
    health.record_rate_limit(MODEL, 60)
    health.forget()

    _, told = board.verdicts[-1]
    assert (told.opened_at_s, told.limited_until_s) == (None, 0.0)
    assert board.failures == {MODEL: 0}
