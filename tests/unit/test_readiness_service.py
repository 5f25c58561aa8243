from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.services.litellm_service import LiteLLMService
from app.services.readiness_service import REPORT_LIFETIME_S, Readiness, ReadinessService
from tests.fakes.clock import FakeClock
from tests.fakes.key_store import FakeKeyStore


class FakeLiteLLMService(LiteLLMService):
    """Can be reached, or not, and counts who asks."""

    def __init__(self) -> None:
        self.is_up = True
        self.asked = 0

    async def is_reachable(self) -> bool:
        self.asked += 1
        return self.is_up


@dataclass
class Stage:
    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    litellm: FakeLiteLLMService = field(default_factory=FakeLiteLLMService)

    def __post_init__(self) -> None:
        self.store = FakeKeyStore(self.clock)
        self.readiness = self.worker()

    def worker(self) -> ReadinessService:
        return ReadinessService(self.store, self.litellm, None, self.folder / "spool", self.clock)

    def report(self) -> Readiness:
        return asyncio.run(self.readiness.report())


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_worker_with_everything_there_is_ready(stage: Stage) -> None:
    assert stage.report() == Readiness(True, {"database": "ok", "litellm": "ok"})


def test_worker_without_its_database_is_not_ready(stage: Stage) -> None:
    stage.store.is_away = True

    assert stage.report() == Readiness(False, {"database": "unreachable", "litellm": "ok"})


def test_worker_without_litellm_is_ready_and_says_so(stage: Stage) -> None:
    stage.litellm.is_up = False

    assert stage.report() == Readiness(True, {"database": "ok", "litellm": "unreachable"})


def test_report_asked_often_checks_once(stage: Stage) -> None:
    stage.report()
    stage.report()

    assert stage.litellm.asked == 1


def test_report_that_is_old_is_checked_again(stage: Stage) -> None:
    stage.report()
    stage.store.is_away = True
    stage.clock.advance(REPORT_LIFETIME_S)

    assert not stage.report().is_ready


def test_worker_told_to_drain_is_not_ready_at_once(stage: Stage) -> None:
    stage.report()
    stage.readiness.drain(on=True)

    assert stage.report() == Readiness(
        False, {"database": "ok", "litellm": "ok", "draining": "yes"}
    )


def test_drain_reaches_the_other_workers_of_the_machine(stage: Stage) -> None:
    stage.worker().drain(on=True)

    assert not stage.report().is_ready


def test_drain_taken_back_makes_ready_again(stage: Stage) -> None:
    stage.readiness.drain(on=True)
    stage.readiness.drain(on=True)
    stage.readiness.drain(on=False)
    stage.readiness.drain(on=False)

    assert stage.report().is_ready
