"""Strategies for streams as they may come: any line ends, comments, data over several lines, and
cut into pieces anywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
from hypothesis import strategies as st

from app.utils.sse import event_data
from tests.wire import Api

LINE_ENDS = (b"\n", b"\r\n", b"\r")
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["olá", "🏙️ 東京", "a\u2028b\u0085c", '"usage": {}', "[DONE]", "data: x", "\n\n", "\x00\x7f"]
)
# Nothing of this is an answer, and all of it may stand between events.
INTERLUDES = st.sampled_from(
    [
        [b": keep-alive"],
        [b":" + " São Paulo 🏙️".encode()],
        [b": [DONE]", b': "usage": {"prompt_tokens": 1}'],
        [b"event: ping", b"data: {}"],
        [b"id: 7", b"retry: 3000"],
        [b"data"],
        [b"data: not json {"],
    ]
)


@dataclass(frozen=True)
class Recorded:
    """A good stream: as LiteLLM sends it, and as callers get it who have not asked for usage."""

    sent: bytes
    without_usage: bytes


@st.composite
def recorded(draw: st.DrawFn, api: Api) -> Recorded:
    """A good stream of an API; chats and completions say anything in it, the others always the
    same."""
    first, *rest = api.events
    said = draw(st.lists(TEXTS, max_size=4)) if api.usage_event else []
    events = [first, *(_saying(first, text) for text in said), *rest]
    blocks: list[tuple[bytes, bool]] = []
    for event in events:
        blocks += [(draw(ended(lines)), False) for lines in draw(st.lists(INTERLUDES, max_size=1))]
        blocks.append((draw(relaid(event)), event == api.usage_event))
    return Recorded(
        sent=b"".join(block for block, _ in blocks),
        without_usage=b"".join(block for block, is_usage in blocks if not is_usage),
    )


@st.composite
def pieces(draw: st.DrawFn, content: bytes, max_cuts: int = 30) -> list[bytes]:
    """Cut ``content`` anywhere; often within a letter or a line end."""
    delicate = [i for i in range(1, len(content)) if content[i] & 0xC0 == 0x80 or content[i] < 14]
    anywhere = st.integers(1, len(content) - 1)
    place = st.sampled_from(delicate) | anywhere if delicate else anywhere
    cuts = sorted(draw(st.sets(place, max_size=max_cuts)))
    return [content[start:end] for start, end in pairwise([0, *cuts, len(content)])]


@st.composite
def relaid(draw: st.DrawFn, event: bytes) -> bytes:
    """The same event in another form: its data over several lines, without a space, with fields."""
    data = event_data(event)
    name = [line for line in event.splitlines() if line.startswith(b"event:")]
    colon = draw(st.sampled_from([b"data: ", b"data:"]))
    if draw(st.booleans()) and data.startswith(b"{"):
        indented = json.dumps(orjson.loads(data), ensure_ascii=False, indent=1).encode()
        body = [colon + line for line in indented.split(b"\n")]
    else:
        body = [colon + data]
    return draw(ended([*name, *draw(st.sampled_from([[], [b"id: 1"]])), *body]))


@st.composite
def ended(draw: st.DrawFn, lines: list[bytes]) -> bytes:
    """The lines of a whole event, in one of the three styles."""
    end = draw(st.sampled_from(LINE_ENDS))
    return end.join(lines) + end + end


def _saying(event: bytes, text: str) -> bytes:
    """Return the event with another text."""
    content: dict[str, Any] = orjson.loads(event_data(event))
    choice = content["choices"][0]
    if "delta" in choice:
        choice["delta"]["content"] = text
    else:
        choice["text"] = text
    # LiteLLM's own separators, and letters as they are.
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"
