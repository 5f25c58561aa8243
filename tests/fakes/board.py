"""A board between workers that a test reads, and on which it writes as another worker would."""

from __future__ import annotations

import asyncio

from app.services.health_service import HealthBoard, Verdict
from app.services.outcome_window import Outcomes


class FakeBoard(HealthBoard):
    """Gives trials to this worker while ``gives_trials``; ``answers`` is set unless a test has
    this worker wait for them."""

    def __init__(self) -> None:
        self.gives_trials = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.trials_asked: list[str] = []
        self.trials_given_back: list[str] = []
        self.verdicts: list[tuple[str, Verdict]] = []
        # Failures in a row by model, as this worker has told them.
        self.failures: dict[str, int] = {}
        self.seen_by_others: dict[str, Outcomes] = {}

    async def take_trial(self, model: str) -> bool:
        self.trials_asked.append(model)
        await self.answers.wait()
        return self.gives_trials

    def give_trial_back(self, model: str) -> None:
        self.trials_given_back.append(model)

    def publish(self, model: str, verdict: Verdict) -> None:
        self.verdicts.append((model, verdict))

    def note_failure(self, model: str) -> None:
        self.failures[model] = self.failures.get(model, 0) + 1

    def note_success(self, model: str) -> None:
        self.failures[model] = 0

    def others(self, model: str) -> Outcomes:
        return self.seen_by_others.get(model, Outcomes())
