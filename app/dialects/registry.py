"""Every dialect, by its path."""

from __future__ import annotations

from app.dialects.anthropic_messages import COUNT_TOKENS, MESSAGES
from app.dialects.base import Dialect
from app.dialects.openai_chat import CHAT, COMPLETIONS
from app.dialects.openai_embeddings import EMBEDDINGS
from app.dialects.openai_responses import RESPONSES

DIALECTS: dict[str, Dialect] = {
    dialect.path: dialect
    for dialect in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES, COUNT_TOKENS)
}


def dialect_at(path: str) -> Dialect:
    """Return the dialect in which an error at ``path`` is told: OpenAI's where none is known."""
    if path.startswith(MESSAGES.path):
        return MESSAGES
    return DIALECTS.get(path, CHAT)
