"""How long a body's text may become on its way into a tokenizer.

A tokenizer that falls back to bytes makes no more tokens of a text than it has UTF-8 bytes, but
what it reads is not always what came: Anthropic's brings texts into Unicode's compatibility form,
in which one character may be eighteen, and what is an object here reaches it written anew.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

from app.utils.exceptions import InvalidRequestError

# What only a body has that holds more than texts; `\u` hides a character, or one of these names.
_WRITTEN_ANEW = (
    b'"tools"',
    b'"functions"',
    b'"tool_use"',
    b'"response_format"',
    b'"json_schema"',
    b"\\u",
)
# The room around a comma is what OpenAI's own form, TypeScript, has between two values.
_SEPARATORS = (",  ", ": ")


_ASCII = bytes(range(128))


def text_size(raw: bytes, body: Mapping[str, Any]) -> int:
    """Return the UTF-8 bytes of a body, or of the longest form that it may be read in.

    Raises: InvalidRequestError, where it is too deep to be written anew.
    """
    form = _written_anew(body) if any(mark in raw for mark in _WRITTEN_ANEW) else raw
    longest = max(len(raw), len(form))
    if form.isascii() or _stays_as_it_is(form):
        return longest
    return max(longest, len(unicodedata.normalize("NFKC", form.decode()).encode()))


def _stays_as_it_is(form: bytes) -> bool:
    # Between ASCII's letters, which never become longer, the others are few and soon looked at.
    return unicodedata.is_normalized("NFKC", form.translate(None, _ASCII).decode())


def _written_anew(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=_SEPARATORS).encode()
    except RecursionError as fault:
        raise InvalidRequestError("not_json") from fault
