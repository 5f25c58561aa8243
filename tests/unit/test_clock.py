from __future__ import annotations

from datetime import UTC, datetime

from app.utils.clock import SystemClock


def test_time_now_is_aware_and_utc() -> None:
    before = datetime.now(UTC)

    now = SystemClock().now()

    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_steady_seconds_never_go_back() -> None:
    clock = SystemClock()

    assert clock.steady_s() <= clock.steady_s()
