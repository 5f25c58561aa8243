"""How large a call may become: an upper bound, before it is sent.

Every tokenizer in use falls back to bytes, so that a text never has more tokens than the UTF-8
bytes of the form in which it is read. The body's own JSON stands for what providers add around
each message.
"""

from __future__ import annotations

from app.config.catalog import Model
from app.dialects.base import Needs
from app.ledger.book import LEAST_OUTPUT_TOKENS, Demand

# Since Claude Opus 4.7 a picture may keep 3.75 megapixels, of which 750 make a token; OpenAI's in
# high detail costs 1,445.
IMAGE_TOKENS = 5_000
LIKELY_IMAGE_TOKENS = 1_000
# What Anthropic puts before a prompt with tools is up to 530 tokens.
TOOLS_TOKENS = 600


def demand_of(needs: Needs, model: Model) -> Demand:
    """Return what ``model`` may take to answer a request with these needs."""
    asked = needs.output_tokens
    limit = model.max_output_tokens
    # LiteLLM raises a smaller limit to 16 where it asks OpenAI's newer API.
    output = limit if asked is None else min(max(asked, min(LEAST_OUTPUT_TOKENS, limit)), limit)
    prices = model.prices
    return Demand(
        input_tokens=_input_bound(needs, model),
        # Nobody thinks for longer than it writes.
        output_tokens=output + min(needs.reasoning_tokens, limit),
        choices=needs.choices,
        input_price=max(prices.input, prices.cache_write),
        output_price=prices.output,
        is_flexible=asked is None and output > 0,
    )


def output_cap(needs: Needs, model: Model, granted: int) -> int | None:
    """Return the limit that goes to ``model``, None where it writes nothing.

    It is the caller's own, though more may be held for it; else what was granted.
    """
    asked = needs.output_tokens
    return min(granted if asked is None else asked, model.max_output_tokens) or None


def _input_bound(needs: Needs, model: Model) -> int:
    if needs.files:
        return model.max_input_tokens
    bound = needs.text_bytes + needs.images * IMAGE_TOKENS + needs.tools * TOOLS_TOKENS
    # More than fits is refused by the provider, and costs nothing.
    return min(bound, model.max_input_tokens * needs.prompts)


def likely_input_tokens(needs: Needs) -> int:
    """Return what a prompt probably had, where its provider never said."""
    return -(-needs.text_bytes // 4) + needs.images * LIKELY_IMAGE_TOKENS
