"""A small catalogue of models for tests of who is asked, and who is asked next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ALONE = "lonely"
CHAIN = ("a", "b", "c")
# Never made to fail: it shows that the proxy still works.
WELL = "well"
EMBEDDER = "lonely-embedding"
MODELS = (ALONE, *CHAIN, WELL, EMBEDDER)


def write_catalog(folder: Path, *, unhealthy_threshold: int = 3) -> Path:
    """Write a LITELLM_CONFIG: ``lonely`` has no fallbacks, ``a`` has ``b``, then ``c``."""
    document = {
        "model_list": [
            *(_entry(name) for name in (ALONE, *CHAIN, WELL)),
            _entry(EMBEDDER, mode="embedding"),
        ],
        "router_settings": {"fallbacks": [{"a": ["b", "c"]}]},
        "solaris": {
            "health": {
                "check_interval_s": 60,
                "unhealthy_threshold": unhealthy_threshold,
                "cooldown_s": 60,
            }
        },
    }
    path = folder / "litellm-config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _entry(name: str, *, mode: str = "chat") -> dict[str, Any]:
    info: dict[str, Any] = {
        "mode": mode,
        "supports_function_calling": True,
        "supports_vision": True,
        "input_cost_per_token": 0.000001,
        "output_cost_per_token": 0.000002,
        "max_input_tokens": 100_000,
        "max_output_tokens": 4096,
    }
    return {
        "model_name": name,
        "litellm_params": {"model": f"openai/{name}"},
        "model_info": info,
    }
