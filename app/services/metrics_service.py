"""Metrics: what this worker samples of itself, and what all of them show to whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from app.config.catalog import Catalog
from app.metrics.figures import DatabaseFigures, FigureReader, ReadFigures, SpoolFigures
from app.metrics.instruments import Instruments
from app.services.database import in_thread
from app.services.health_service import LITELLM, HealthService
from app.utils.clock import Clock
from app.utils.exceptions import DatabaseUnavailableError

SAMPLE_INTERVAL_S = 0.5
# Whoever scrapes more often gets the same figures of Postgres again.
FIGURES_LIFETIME_S = 5.0


class MetricsService:
    """For the event loop."""

    def __init__(
        self,
        instruments: Instruments,
        reader: FigureReader,
        spools: Mapping[str, Path],
        catalog: Catalog,
        health: HealthService,
        clock: Clock,
    ) -> None:
        self._instruments = instruments
        self._reader = reader
        self._spools = spools
        # LiteLLM's own breaker is shown under this name, without the sign.
        self._watched = {**dict.fromkeys(catalog.models), LITELLM: None}
        self._health = health
        self._clock = clock
        self._figures: DatabaseFigures | None = None
        self._figures_at_s = float("-inf")
        self._reading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start to sample the loop and the breakers."""
        self._instruments.workers.set(1)
        self._task = asyncio.create_task(self._keep_sampling(), name="metrics-sampler")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            self._instruments.workers.set(0)

    async def exposition(self) -> bytes:
        """Return everything in Prometheus' text format; of Postgres nothing, while it is away."""
        figures = await self._current_figures()
        return await asyncio.to_thread(self._rendered, figures)

    def sample(self, lag_s: float) -> None:
        """Note how late the loop was, and which models this worker leaves out."""
        self._instruments.loop_lag.observe(max(0.0, lag_s))
        for model in self._watched:
            is_out = self._health.peek(model) is not None
            self._instruments.breaker_open.labels(model.lstrip("@")).set(int(is_out))

    async def _keep_sampling(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + SAMPLE_INTERVAL_S
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            self.sample(loop.time() - due_s)

    async def _current_figures(self) -> DatabaseFigures | None:
        async with self._reading:
            now_s = self._clock.steady_s()
            if now_s - self._figures_at_s >= FIGURES_LIFETIME_S:
                # Not again at once where it is away, either.
                self._figures_at_s, self._figures = now_s, None
                with contextlib.suppress(DatabaseUnavailableError):
                    self._figures = await in_thread(self._reader.read)
            return self._figures

    def _rendered(self, figures: DatabaseFigures | None) -> bytes:
        others = CollectorRegistry()
        others.register(ReadFigures(figures, SpoolFigures.read(self._spools)))
        return generate_latest(self._instruments.registry()) + generate_latest(others)
