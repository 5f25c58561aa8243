"""Checks of a body's fields, before LiteLLM sees it; everything unknown passes.

A `messages: "abc"` was measured to cost LiteLLM 32 attempts before it said no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from app.utils.exceptions import InvalidRequestError

_IMAGE_TYPES = frozenset({"image_url", "input_image", "image"})
_FILE_TYPES = frozenset({"file", "input_file", "document"})
# Where a part holds a picture or a file, or its address.
_DATA_KEYS = frozenset({"url", "image_url", "data", "file_data"})
# What LiteLLM 1.106.2 lets an Anthropic model think for `reasoning_effort: high`.
REASONING_TOKENS = 4096


def parse_object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        # The parser's own words quote the body.
        raise InvalidRequestError("not_json") from fault
    if not isinstance(body, dict):
        raise InvalidRequestError("not_json")
    require_text(body, "model")
    check(body, "stream", "not_boolean", lambda value: isinstance(value, bool))
    return body


def require_text(body: dict[str, Any], name: str) -> None:
    _require(body, name)
    value = body[name]
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequestError("not_text", param=name)


def require_messages(body: dict[str, Any], name: str = "messages") -> None:
    """Raises: InvalidRequestError, unless the field is a list of objects that have a role."""
    _require(body, name)
    messages = body[name]
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("not_list", param=name)
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequestError("not_object", param=f"{name}[{index}]")
        if not isinstance(message.get("role"), str) or not message["role"]:
            raise InvalidRequestError("not_text", param=f"{name}[{index}].role")


def require_text_or_list(body: dict[str, Any], name: str) -> None:
    _require(body, name)
    value = body[name]
    if not isinstance(value, str | list) or not value:
        raise InvalidRequestError("not_text_or_list", param=name)


def require_count(body: dict[str, Any], name: str) -> None:
    _require(body, name)
    if not _is_count(body[name]):
        raise InvalidRequestError("not_count", param=name)


def check_counts(body: dict[str, Any], *names: str) -> None:
    for name in names:
        check(body, name, "not_count", _is_count)


def check_objects(body: dict[str, Any], *names: str) -> None:
    for name in names:
        check(body, name, "not_object", lambda value: isinstance(value, dict))


def refuse(body: dict[str, Any], *names: str) -> None:
    """Raises: InvalidRequestError, when one of these is asked for."""
    for name in names:
        if body.get(name):
            raise InvalidRequestError("not_supported", param=name)


def refuse_items(body: dict[str, Any], name: str, kind: str) -> None:
    """Raises: InvalidRequestError, when one of the field's items is of this kind."""
    for index, item in enumerate(body[name] if _is_list(body[name]) else ()):
        if isinstance(item, dict) and item.get("type") == kind:
            raise InvalidRequestError("not_supported", param=f"{name}[{index}]")


def check(body: dict[str, Any], name: str, detail: str, holds: Callable[[Any], bool]) -> None:
    value = body.get(name)
    if value is not None and not holds(value):
        raise InvalidRequestError(detail, param=name)


def without_nulls(body: dict[str, Any], *names: str) -> None:
    """Take these out where they are null: a null would lift the limit that a model's entry sets."""
    for name in names:
        if name in body and body[name] is None:
            del body[name]


@dataclass(frozen=True, slots=True)
class Attachments:
    """What the parts of messages hold beside text, and its length in the body."""

    images: int
    # Of any other kind; how many tokens one makes, nobody can tell from its bytes.
    files: int
    size_bytes: int


def attachments(messages: object) -> Attachments:
    images = files = size_bytes = 0
    for part in _parts(messages):
        kind, part_bytes = str(part.get("type")), _data_size(part)
        images += kind in _IMAGE_TYPES
        files += kind in _FILE_TYPES or (part_bytes > 0 and kind not in _IMAGE_TYPES)
        size_bytes += part_bytes
    return Attachments(images, files, size_bytes)


def largest(body: dict[str, Any], *names: str) -> int | None:
    """Return the largest of some counts that a body states, None where it states none."""
    return max((body[name] for name in names if body.get(name)), default=None)


def reasoning_tokens(body: dict[str, Any], cap: int | None) -> int:
    """Return what a model may think beyond ``cap``, by any of the names that there are for it."""
    return max(_effort_tokens(body), _thinking_beyond(body, cap))


def _effort_tokens(body: dict[str, Any]) -> int:
    reasoning = body.get("reasoning")
    inner = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return REASONING_TOKENS if body.get("reasoning_effort") or inner else 0


def _thinking_beyond(body: dict[str, Any], cap: int | None) -> int:
    """Anthropic counts a budget below ``max_tokens`` as part of it, and refuses any other, except
    where a model thinks between its tools."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return budget if _is_count(budget) and (cap is None or budget >= cap) else 0


def prompts(value: str | list[Any]) -> int:
    """Return how many prompts a text or list is: a list of numbers is one text's tokens."""
    return len(value) if isinstance(value, list) and not isinstance(value[0], int) else 1


def _parts(messages: object) -> Iterator[dict[str, Any]]:
    for message in _objects(messages):
        for part in _objects(message.get("content")):
            yield part
            # A tool's result has parts of its own.
            yield from _objects(part.get("content"))
        # So has a function's, in OpenAI's newer API.
        yield from _objects(message.get("output"))


def _objects(values: object) -> Iterator[dict[str, Any]]:
    return (value for value in values if isinstance(value, dict)) if _is_list(values) else iter(())


def _is_list(values: object) -> TypeGuard[list[Any]]:
    return isinstance(values, list)


def _data_size(part: dict[str, Any]) -> int:
    """Return the length of the data in one part, beside its type or in an object there."""
    # What a tool was called with is text, whatever the names in it.
    inner = [it for key, it in part.items() if isinstance(it, dict) and key != "input"]
    return sum(
        len(text)
        for holder in (part, *inner)
        for key, text in holder.items()
        if key in _DATA_KEYS and isinstance(text, str)
    )


def _require(body: dict[str, Any], name: str) -> None:
    if name not in body:
        raise InvalidRequestError("required", param=name)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
