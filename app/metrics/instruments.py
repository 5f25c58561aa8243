"""What every worker counts. Labels are of the catalogue or codes of ours, never of a caller's."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from app.audit.event import REQUEST, AuditEvent
from app.metrics.shared_files import VARIABLE

NO_MODEL = "none"
FIRST_ERROR_STATUS = 400
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
FIRST_BYTE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
BATCH_OPERATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Instruments:
    """One an application. In a worker of gunicorn's, where `PROMETHEUS_MULTIPROC_DIR` is set, they
    are in files that all workers share; else in memory."""

    def __init__(self, models: Collection[str]) -> None:
        self._models = frozenset(models)
        self.own = CollectorRegistry()
        self.requests = self._counter(
            "solaris_requests", "Requests to models, by the model asked for.", "model", "status"
        )
        self.seconds = self._histogram(
            "solaris_request_seconds", "Whole time of a request that was let in.", SECONDS, "model"
        )
        self.first_byte = self._histogram(
            "solaris_first_byte_seconds",
            "Time to the first event of a stream.",
            FIRST_BYTE_SECONDS,
            "model",
        )
        self.tokens = self._counter(
            "solaris_tokens", "Tokens, by the model that answered.", "model", "kind"
        )
        self.cost = self._counter(
            "solaris_cost_micro_usd", "What the ledger posted, in micro-USD.", "model"
        )
        self.fallbacks = self._counter(
            "solaris_fallbacks", "Requests that another model answered, by the one asked.", "model"
        )
        self.attempt_failures = self._counter(
            "solaris_attempt_failures", "Models that were asked and failed.", "model", "reason"
        )
        self.refusals = self._counter(
            "solaris_refusals", "Requests that got no answer, by the reason on record.", "reason"
        )
        self.batches = self._histogram(
            "solaris_ledger_batch_operations",
            "Operations that went to Postgres together.",
            BATCH_OPERATIONS,
        )
        self.loop_lag = self._histogram(
            "solaris_event_loop_lag_seconds", "How late the event loop was.", LAG_SECONDS
        )
        self.workers = self._gauge("solaris_workers", "Workers that serve.", "livesum")
        self.breaker_open = self._gauge(
            "solaris_breaker_open",
            "1 where a worker leaves a model out, or LiteLLM.",
            "livemax",
            "model",
        )

    def count_call(self, event: AuditEvent) -> None:
        """Count one request to a model, as it goes on record."""
        model = self._named(event.model)
        self.requests.labels(model, str(event.status)).inc()
        reason = event.detail.get("reason")
        if reason and (event.status or 0) >= FIRST_ERROR_STATUS:
            self.refusals.labels(str(reason)).inc()
        if event.event == REQUEST:
            self._count_answer(event, model)

    @staticmethod
    def shared_folder() -> Path | None:
        """Return where the files are that workers share; None, where nothing is shared."""
        folder = os.environ.get(VARIABLE)
        return Path(folder) if folder else None

    def registry(self) -> CollectorRegistry:
        """Return what all workers have counted together."""
        if self.shared_folder() is None:
            return self.own
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return shared

    def _count_answer(self, event: AuditEvent, model: str) -> None:
        used = self._named(event.model_used or event.model)
        self.seconds.labels(model).observe((event.latency_ms or 0) / 1000)
        if event.first_byte_ms is not None:
            self.first_byte.labels(used).observe(event.first_byte_ms / 1000)
        if event.model_used not in (None, event.model):
            self.fallbacks.labels(model).inc()
        if event.cost_micro_usd:
            self.cost.labels(used).inc(event.cost_micro_usd)
        if usage := event.usage:
            self._count_tokens(used, "input", usage.input_tokens)
            self._count_tokens(used, "output", usage.output_tokens)
            self._count_tokens(used, "cached_input", usage.cached_input_tokens)
            self._count_tokens(used, "cache_write", usage.cache_write_tokens)
        self._count_failures(event.detail.get("path", ()))

    def _count_tokens(self, model: str, kind: str, count: int) -> None:
        if count > 0:
            self.tokens.labels(model, kind).inc(count)

    def _count_failures(self, path: Iterable[dict[str, Any]]) -> None:
        for step in path:
            if step["outcome"] == "failed":
                model = self._named(step["model"])
                self.attempt_failures.labels(model, str(step.get("reason"))).inc()

    def _named(self, model: str | None) -> str:
        return model if model in self._models else NO_MODEL

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.own)

    def _histogram(
        self, name: str, what: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, what, labels, buckets=buckets, registry=self.own)

    def _gauge(self, name: str, what: str, mode: Any, *labels: str) -> Gauge:
        return Gauge(name, what, labels, multiprocess_mode=mode, registry=self.own)
