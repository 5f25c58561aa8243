from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.utils.sse import EventSplitter, event_data

LINE_ENDS = (b"\n", b"\r\n", b"\r")
# Bytes that make boundaries likely.
stream_bytes = st.lists(
    st.sampled_from([b"\r", b"\n", b"data: x", b":", b"\x00\xff"]) | st.binary(max_size=4)
).map(b"".join)
line = st.binary(min_size=1, max_size=8).map(lambda raw: b"data: " + raw.translate(None, b"\r\n"))
events_of_lines = st.lists(st.lists(line, min_size=1, max_size=3), max_size=5)


@st.composite
def chunked(draw: st.DrawFn, content: bytes) -> list[bytes]:
    """Cut ``content`` anywhere, empty chunks included."""
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=8)))
    edges = [0, *cuts, len(content)]
    return [content[start:end] for start, end in pairwise(edges)]


def split(chunks: list[bytes], max_event_bytes: int = 1024) -> list[bytes]:
    splitter = EventSplitter(max_event_bytes)
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return [*events, splitter.flush()]


@given(st.data(), stream_bytes, st.integers(4, 40))
def test_splitter_of_any_chunks_gives_every_byte_back(
    data: st.DataObject, content: bytes, max_event_bytes: int
) -> None:
    pieces = split(data.draw(chunked(content)), max_event_bytes)

    assert b"".join(pieces) == content


@given(st.data(), events_of_lines, st.sampled_from(LINE_ENDS))
def test_splitter_of_a_well_formed_stream_cuts_at_its_events(
    data: st.DataObject, events: list[list[bytes]], end: bytes
) -> None:
    whole = [end.join(lines) + end + end for lines in events]

    pieces = split(data.draw(chunked(b"".join(whole))))

    assert [piece for piece in pieces if piece] == whole


def test_splitter_holds_an_unfinished_event_back() -> None:
    assert EventSplitter().feed(b"data: a\n\ndata: b\n") == [b"data: a\n\n"]


def test_splitter_flushed_returns_the_rest_once() -> None:
    splitter = EventSplitter()
    splitter.feed(b"data: b")

    assert (splitter.flush(), splitter.flush()) == (b"data: b", b"")


def test_splitter_lets_an_oversized_event_through_unfinished() -> None:
    splitter = EventSplitter(max_event_bytes=8)

    assert splitter.feed(b"data: 0123456789") == [b"data: 0123456"]
    assert splitter.mid_event


def test_splitter_after_an_oversized_event_is_at_a_boundary_again() -> None:
    splitter = EventSplitter(max_event_bytes=8)
    splitter.feed(b"data: 0123456789")

    assert splitter.feed(b"\n\n") == [b"789\n\n"]
    assert not splitter.mid_event


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: {}\n\n", b"{}"),
        (b"data:{}\n\n", b"{}"),
        (b"data: [DONE]\r\n\r\n", b"[DONE]"),
        (b"data: x\r\r", b"x"),
        (b"event: ping\ndata: a\ndata: b\n\n", b"a\nb"),
        (b"data:  two spaces\n\n", b" two spaces"),
        (b": comment\n\n", b""),
        (b"id: 1\n\n", b""),
        (b"\n", b""),
        (b"", b""),
    ],
)
def test_event_data_is_what_the_data_lines_say(event: bytes, data: bytes) -> None:
    assert event_data(event) == data


@given(st.lists(line, min_size=1), st.sampled_from(LINE_ENDS))
def test_event_data_of_any_line_end_is_the_same(lines: list[bytes], end: bytes) -> None:
    expected = b"\n".join(line.removeprefix(b"data: ") for line in lines)

    assert event_data(end.join(lines) + end + end) == expected
