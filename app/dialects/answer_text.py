"""The text of an answer, in whatever API it comes; for who keeps it, and nobody else.

Shapes: OpenAI's chat and completions (`choices`), its responses (`output`, and the `delta` of
`response.output_text.delta`), Anthropic's messages (`content`, `content_block_delta`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from app.utils.sse import event_data

MAX_TEXT_LENGTH = 300_000
# How deep an answer may nest before nobody looks further.
MAX_DEPTH = 8
# Where text is, in an answer or in an event of one.
_PLACES = ("choices", "message", "delta", "content", "output", "text", "arguments", "partial_json")
_ANSWERS = ("choices", "delta", "content", "output")


class AnswerText:
    """Collects the text of a stream, up to a length."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def read(self, event: bytes) -> None:
        """Take what an event adds; one that is no JSON adds nothing."""
        if self._length >= MAX_TEXT_LENGTH:
            return
        try:
            content = orjson.loads(event_data(event) or b"null")
        except orjson.JSONDecodeError:
            return
        if isinstance(content, dict):
            self.add(text_of(content))

    def add(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)


def text_of(body: Mapping[str, Any]) -> str:
    """Return the text of a whole answer, or of one event of a stream."""
    return "".join(part for name in _ANSWERS for part in _texts(body.get(name), MAX_DEPTH))


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, list):
        for item in value:
            yield from _texts(item, depth - 1) if isinstance(item, dict) else ()
    elif depth and isinstance(value, dict):
        for name in _PLACES:
            yield from _texts(value.get(name), depth - 1)
