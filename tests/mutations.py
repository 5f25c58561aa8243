"""Strategies for bodies that are wrong: a good one with values, keys or bytes changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

MAX_CHANGES = 3

VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        0.5,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
        2**31,
        2**63,
        2**70,
    ),
    *("", " ", "x", "well", "stream", "\x00", "ção 🏙️", "\ud800", "\u2028", "data: [DONE]\n\n"),
    *("x" * 5000, "{{LIBRECHAT_USER_ID}}", "../../etc/passwd", "%s%n{0}", "1e999", "b64:%%%"),
    *([], {}, [[]], [{}], [None], ["x"], [0], [[[[[["x"]]]]]], {"": ""}, {"type": []}, {"x": {}}),
    *({"type": {"type": "image_url"}}, {"role": [], "content": {}}, [{"role": "user"}] * 50),
]
KEYS = ["model", "messages", "input", "prompt", "stream", "type", "role", "content", "metadata"]
KEYS += ["stream_options", "user", "tools", "fallbacks", "mock_response", "api_base", "", "\x00"]

Path = tuple[Any, ...]


@st.composite
def mutated(draw: st.DrawFn, good: dict[str, Any]) -> bytes:
    """A body made of a good one: up to three changes of what it says, then perhaps one of its
    bytes."""
    body: Any = {"": deepcopy(good)}
    for _ in range(draw(st.integers(0, MAX_CHANGES))):
        draw(st.sampled_from([_replace, _delete, _add, _wrap, _repeat]))(draw, body)
    # Of the standard library: it writes NaN, and halves of letters.
    raw = json.dumps(body[""], ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    # Half of the bodies stay JSON: those go further.
    changes_its_bytes = draw(st.booleans())
    return draw(st.sampled_from(BYTE_CHANGES))(draw, raw) if changes_its_bytes else raw


def _replace(draw: st.DrawFn, body: Any) -> None:
    holder, key = draw(_places(body))
    holder[key] = deepcopy(draw(st.sampled_from(VALUES)))


def _delete(draw: st.DrawFn, body: Any) -> None:
    holder, key = draw(_places(body))
    if holder is not body:
        del holder[key]


def _add(draw: st.DrawFn, body: Any) -> None:
    holder, key = draw(_places(body))
    value = deepcopy(draw(st.sampled_from(VALUES)))
    inner = holder[key]
    if isinstance(inner, dict):
        inner[draw(st.sampled_from(KEYS))] = value
    elif isinstance(inner, list):
        inner.insert(draw(st.integers(0, len(inner))), value)


def _wrap(draw: st.DrawFn, body: Any) -> None:
    holder, key = draw(_places(body))
    depth = draw(st.sampled_from([1, 2, 60, 260]))
    for _ in range(depth):
        holder[key] = [holder[key]]


def _repeat(draw: st.DrawFn, body: Any) -> None:
    """Put a copy of one part in the place of another."""
    source, source_key = draw(_places(body))
    holder, key = draw(_places(body))
    holder[key] = deepcopy(source[source_key])


def _places(body: Any) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.sampled_from(list(_all_places(body)))


def _all_places(node: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key) of everything in a document."""
    if depth > 20:
        return
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _all_places(node[key], depth + 1)


def _cut(draw: st.DrawFn, raw: bytes) -> bytes:
    return raw[: draw(st.integers(0, len(raw)))]


def _without_a_part(draw: st.DrawFn, raw: bytes) -> bytes:
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(raw))] * 2)))
    return raw[:start] + raw[end:]


def _with_bytes(draw: st.DrawFn, raw: bytes) -> bytes:
    place = draw(st.integers(0, len(raw)))
    return raw[:place] + draw(st.binary(min_size=1, max_size=4)) + raw[place:]


def _with_another_byte(draw: st.DrawFn, raw: bytes) -> bytes:
    place = draw(st.integers(0, len(raw) - 1))
    return raw[:place] + draw(st.binary(min_size=1, max_size=1)) + raw[place + 1 :]


def _with_a_key_twice(draw: st.DrawFn, raw: bytes) -> bytes:
    key, value = draw(st.sampled_from(KEYS)), draw(st.sampled_from(VALUES))
    twice = json.dumps({key: value}).encode()[1:]
    return raw[:-1] + b", " + twice if raw.endswith(b"}") and len(raw) > 2 else raw


def _in_another_encoding(draw: st.DrawFn, raw: bytes) -> bytes:
    encoding = draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "utf-7", "latin-1"]))
    return raw.decode("latin-1").encode(encoding)


def _with_an_odd_number(draw: st.DrawFn, raw: bytes) -> bytes:
    number = draw(st.sampled_from([b"1e999", b"9" * 40, b"-0", b"01", b"0x1", b"1.", b"1e-999"]))
    return raw[:-1] + b', "n": ' + number + b"}"


def _nested(draw: st.DrawFn, raw: bytes) -> bytes:
    depth = draw(st.sampled_from([250, 1030, 100_000]))
    return raw[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}"


BYTE_CHANGES: list[Callable[[st.DrawFn, bytes], bytes]] = [
    *(_cut, _without_a_part, _with_bytes, _with_another_byte, _with_a_key_twice),
    *(_in_another_encoding, _with_an_odd_number, _nested),
]
