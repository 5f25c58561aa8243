"""hardcap: budgets reserved and settled in Redis, forgotten when that restarts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from app.embedded.processes import Child
from bench import wire
from bench.contenders.base import STOP_GRACE_S, Contender, Workplace
from bench.engine import start_engine
from bench.installed import Environment, NotInstalledError
from bench.machine import first_words_of

KEY = "sk-bench-hardcap-key-of-one-run"
MONTH_S = 30 * 86_400


class Hardcap(Contender):
    name = "hardcap"
    title = "hardcap (Valkey)"
    ready_path = "/healthz"

    def __init__(self) -> None:
        super().__init__()
        self.headers = {"Authorization": f"Bearer {KEY}"}
        self._environment = Environment("hardcap")
        self._valkey: Child | None = None
        self._redis_url = ""

    def missing(self) -> str | None:
        try:
            self._environment.install()
        except NotInstalledError as fault:
            return f"it could not be installed: {fault}"
        return None

    def version(self) -> str:
        ask = "import importlib.metadata as m; print(m.version('hardcap'))"
        return first_words_of([self._environment.bin / "python", "-c", ask])

    def prepare(self, place: Workplace) -> None:
        self._valkey, self._redis_url = start_engine("valkey", place.folder / self.name, place)
        self._config(place).write_text(yaml.safe_dump(self._settings(place)))

    def stop(self) -> None:
        super().stop()
        if self._valkey is not None:
            self._valkey.stop(STOP_GRACE_S)
            self._valkey = None

    def command(self, place: Workplace) -> Sequence[str | Path]:
        return [
            *(self._environment.bin / "hardcap", "serve", "-c", self._config(place)),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]

    def _settings(self, place: Workplace) -> dict[str, object]:
        """One budget that every call shares, as this proxy ships one; all else as it comes."""
        budget = {"window_s": MONTH_S, "total": 10**12}
        return {
            "redis_url": self._redis_url,
            "upstreams": {"mock": {"base_url": place.upstream_url}},
            "routes": {wire.MODEL: {"targets": [{"upstream": "mock", "model": wire.MODEL}]}},
            "tenants": {"bench": {"api_keys": [KEY], "budget": budget}},
        }

    def _config(self, place: Workplace) -> Path:
        return place.folder / "hardcap.yaml"
