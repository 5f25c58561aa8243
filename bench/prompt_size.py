"""`python -m bench.prompt_size`: what the ledger holds for a prompt, beside LiteLLM's own count."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import orjson

from app.config.catalog import Model, load_catalog
from app.config.settings import PROJECT_ROOT
from app.dialects.anthropic_messages import MESSAGES
from app.dialects.openai_chat import CHAT
from app.ledger.size import demand_of
from bench.prompts import Prompt, prompts
from bench.table import Block, in_columns

# One of each vocabulary, and one of each provider.
MODELS = ("gpt-4o", "claude-3-opus", "claude-opus-5-5", "gemini-pro")
LITELLM_PYTHON = PROJECT_ROOT / "var" / "litellm-venv" / "bin" / "python"
COUNTER = Path(__file__).with_name("litellm_counts.py")
COUNTED_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Sample:
    kind: str
    model: str
    bound: int
    count: int

    @property
    def ratio(self) -> float:
        return self.bound / self.count


def main() -> int:
    catalog = load_catalog(PROJECT_ROOT / "database" / "litellm-config.yaml")
    cases = [(prompt, catalog.models[name]) for prompt in prompts() for name in MODELS]
    counted = _litellm_counts([_question(prompt, model) for prompt, model in cases])
    samples = [
        Sample(prompt.kind, model.name, bound_of(prompt, model), count)
        for (prompt, model), count in zip(cases, counted["counts"], strict=True)
    ]
    print("\n".join(_report(samples, counted)))
    return 1 if any(it.bound < it.count for it in samples) else 0


def bound_of(prompt: Prompt, model: Model) -> int:
    """Return the bound of a body in its shortest form, without a space."""
    dialect = MESSAGES if prompt.is_anthropic else CHAT
    needs = dialect.parse(orjson.dumps({"model": model.name, **prompt.body})).needs
    return demand_of(needs, model).input_tokens


def _question(prompt: Prompt, model: Model) -> dict[str, Any]:
    _, _, name = model.target.partition("/")
    body = prompt.body
    return {"model": name, "messages": body["messages"], "tools": body.get("tools")}


def _litellm_counts(questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    # Nothing is fetched: neither its list of prices nor a vocabulary.
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [LITELLM_PYTHON, COUNTER],
        input=orjson.dumps(questions),
        env={"PATH": os.environ["PATH"], **offline},
        stdout=subprocess.PIPE,
        timeout=COUNTED_WITHIN_S,
        check=True,
    )
    counted: dict[str, Any] = orjson.loads(result.stdout)
    return counted


def _report(samples: Sequence[Sample], counted: dict[str, Any]) -> list[str]:

    kinds = _block("prompt", samples, lambda it: it.kind)
    models = _block("model", samples, lambda it: it.model)
    vocabularies = ", ".join(f"{model}: {name}" for model, name in counted["vocabularies"].items())
    return [
        f"bound / count by LiteLLM {counted['version']}",
        "",
        *in_columns(kinds),
        "",
        *in_columns(models),
        "",
        f"counted with {vocabularies}",
    ]


def _block(head: str, samples: Sequence[Sample], of: Callable[[Sample], str]) -> Block:
    columns = (head, "samples", "below", "median", "p95", "most")
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(of(sample), []).append(sample)
    return Block(columns, [_row(name, group) for name, group in groups.items()])


def _row(name: str, samples: Sequence[Sample]) -> tuple[str, ...]:
    ratios = [it.ratio for it in samples]
    below = sum(it.bound < it.count for it in samples)
    figures = (median(ratios), quantiles(ratios, n=20)[-1], max(ratios))
    return (name, f"{len(samples)}", f"{below}", *(f"{it:.1f}" for it in figures))


if __name__ == "__main__":
    sys.exit(main())
