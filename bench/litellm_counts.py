"""LiteLLM's own counts of prompts; runs in LiteLLM's environment, with nothing of the proxy's.

In: a JSON list of token_counter's arguments. Out: its counts, in the same order, and by what.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any


def main() -> int:
    import litellm  # type: ignore[import-not-found]  # elsewhere

    prompts: list[dict[str, Any]] = json.load(sys.stdin)
    counts = [litellm.token_counter(**prompt) for prompt in prompts]
    models = sorted({prompt["model"] for prompt in prompts})
    names = {model: _vocabulary(model) for model in models}
    json.dump({"version": version("litellm"), "vocabularies": names, "counts": counts}, sys.stdout)
    return 0


def _vocabulary(model: str) -> str:
    """Return the name of the vocabulary that token_counter takes for a model."""
    from litellm.litellm_core_utils.token_counter import (  # type: ignore[import-not-found]
        openai_tokenizer_encoding_name,
    )
    from litellm.utils import huggingface_tokenizer_kind  # type: ignore[import-not-found]

    return str(huggingface_tokenizer_kind(model) or openai_tokenizer_encoding_name(model))


if __name__ == "__main__":
    sys.exit(main())
