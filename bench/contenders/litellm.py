"""LiteLLM's own proxy: one worker, one model, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from bench import wire
from bench.contenders.base import Contender, Workplace
from bench.machine import first_words_of

# Without one it refuses to start.
MASTER_KEY = "sk-bench-litellm-key-of-one-run"


class LiteLLM(Contender):
    name = "litellm"
    title = "LiteLLM"
    ready_path = "/health/liveliness"

    def __init__(self, binary: Path) -> None:
        super().__init__()
        self.headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        self._binary = binary

    def missing(self) -> str | None:
        return None if self._binary.exists() else f"{self._binary} does not exist"

    def version(self) -> str:
        python = self._binary.with_name("python")
        ask = "import importlib.metadata as m; print(m.version('litellm'))"
        return first_words_of([python, "-c", ask])

    def prepare(self, place: Workplace) -> None:
        target = {
            "model": f"openai/{wire.MODEL}",
            "api_base": f"{place.upstream_url}/v1",
            "api_key": "sk-nobody-checks-this",
        }
        config = {"model_list": [{"model_name": wire.MODEL, "litellm_params": target}]}
        self._config(place).write_text(yaml.safe_dump(config))

    def command(self, place: Workplace) -> Sequence[str | Path]:
        return [
            self._binary,
            *("--config", self._config(place), "--host", "127.0.0.1", "--port", str(self.port)),
            *("--num_workers", "1", "--telemetry", "False"),
        ]

    def environment(self, _place: Workplace) -> Mapping[str, str]:
        # Its table of prices is in the package; it would fetch it again at each start.
        return {
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        }

    def _config(self, place: Workplace) -> Path:
        return place.folder / "litellm.yaml"
