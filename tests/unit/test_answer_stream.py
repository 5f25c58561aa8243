from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dialects.base import Usage
from app.dialects.openai_chat import CompletionReader
from app.services.answer_stream import KEEPALIVE_COMMENT, AnswerStream
from app.utils.exceptions import (
    DrainingError,
    LiteLLMError,
    SolarisError,
    UpstreamTimeoutError,
)
from app.utils.sse import MAX_EVENT_BYTES
from tests.fakes.upstream import ScriptedAnswer, Step

HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"ol\xc3\xa1"}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
USAGE = b'"usage":{"prompt_tokens":21,"completion_tokens":5}'
USAGE_OF_LITELLM = b'data: {"choices":[{"index":0,"delta":{}}],' + USAGE + b"}\n\n"
USAGE_OF_OPENAI = b'data: {"choices":[],' + USAGE + b"}\n\n"
FAILED = b'data: {"error":{"message":"key sk-1 of https://x","code":"500"}}\n\n'
DONE = b"data: [DONE]\n\n"
ANSWER = HELLO + LAST + USAGE_OF_LITELLM + DONE


class Stage:
    """A stream over scripted chunks, and what came of it."""

    def __init__(self, steps: Iterable[Step], *, forward_usage: bool = False) -> None:
        self.answer = ScriptedAnswer(steps)
        self.ended: list[AnswerStream] = []
        self.forward_usage = forward_usage
        self.received = b""

    def stream(self) -> AnswerStream:
        stream = AnswerStream(
            self.answer,
            CompletionReader(forward_usage=self.forward_usage),
            lambda error: b"data: E=" + error.code.encode() + b"\n\n",
        )
        stream.on_end = self.ended.append
        return stream

    def run(self) -> AnswerStream:
        """Read the stream to its end."""

        async def read() -> AnswerStream:
            stream = self.stream()
            await stream.begin()
            chunks = [chunk async for chunk in stream]
            assert all(chunks)
            self.received = b"".join(chunks)
            return stream

        return asyncio.run(read())


def error_event(code: str) -> bytes:
    return b"data: E=" + code.encode() + b"\n\n"


# The bytes


@given(st.data(), st.booleans(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_stream_in_any_chunks_gives_the_same_bytes(
    data: st.DataObject, forward_usage: bool, line_end: bytes
) -> None:
    sent = ANSWER.replace(b"\n", line_end)
    expected = (ANSWER if forward_usage else HELLO + LAST + DONE).replace(b"\n", line_end)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=12)))
    edges = [0, *cuts, len(sent)]
    stage = Stage(
        [sent[start:end] for start, end in pairwise(edges)],
        forward_usage=forward_usage,
    )

    stream = stage.run()

    assert stage.received == expected
    assert (stream.is_complete, stream.error) == (True, None)
    assert stream.usage == Usage(21, 5)


@pytest.mark.parametrize("usage", [USAGE_OF_LITELLM, USAGE_OF_OPENAI])
def test_usage_chunk_not_asked_for_is_taken_out_but_noted(usage: bytes) -> None:
    stage = Stage([HELLO, usage, DONE])

    stream = stage.run()

    assert stage.received == HELLO + DONE
    assert stream.usage == Usage(21, 5)


def test_usage_in_a_chunk_that_says_more_stays() -> None:
    last = (
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\n'
    )
    stage = Stage([last, DONE])

    stage.run()

    assert stage.received == last + DONE


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{"content":"\\"error\\" and \\"usage\\" [DONE]"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}],"error":{"message":"soft"}}\n\n',
        b'data: {"usage": broken\n\n',
        b'data: "usage"\n\n',
        b'data: ["error"]\n\n',
        b': comment about "error"\n\n',
        b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n',
        b"event: ping\ndata: {}\n\n",
    ],
)
def test_event_that_only_looks_special_passes_untouched(event: bytes) -> None:
    stage = Stage([event, DONE])

    stage.run()

    assert stage.received == event + DONE


def test_silence_is_filled_with_keep_alive_comments() -> None:
    stage = Stage([HELLO, None, DONE])

    stage.run()

    assert stage.received == HELLO + KEEPALIVE_COMMENT + DONE


def test_silence_inside_an_oversized_event_is_left_alone() -> None:
    big = b"data: " + b"x" * (MAX_EVENT_BYTES + 10)
    stage = Stage([big, None, b"\n\n" + DONE])

    stage.run()

    assert stage.received == big + b"\n\n" + DONE


# How it ends


def test_stream_that_ends_without_done_ends_with_an_error_event() -> None:
    stage = Stage([HELLO])

    stream = stage.run()

    assert stage.received == HELLO + error_event("upstream_error")
    assert isinstance(stream.error, LiteLLMError)
    assert not stream.is_complete


def test_stream_that_ends_inside_an_event_ends_with_an_error_event_of_its_own_line() -> None:
    stage = Stage([HELLO, b'data: {"choi'])

    stage.run()

    assert stage.received == HELLO + error_event("upstream_error")


@pytest.mark.parametrize("error", [LiteLLMError(), UpstreamTimeoutError()])
def test_stream_that_breaks_ends_with_its_error(error: SolarisError) -> None:
    stage = Stage([HELLO, b'data: {"choi', error])

    stream = stage.run()

    assert stage.received == HELLO + error_event(error.code)
    assert stream.error is error


def test_stream_that_breaks_inside_an_oversized_event_says_so_on_a_line_of_its_own() -> None:
    big = b"data: " + b"x" * (MAX_EVENT_BYTES + 10)
    stage = Stage([big, LiteLLMError()])

    stage.run()

    assert stage.received == big[:-3] + b"\n\n" + error_event("upstream_error")


def test_stream_that_breaks_after_done_is_complete() -> None:
    stage = Stage([HELLO + DONE, LiteLLMError()])

    stream = stage.run()

    assert stage.received == HELLO + DONE
    assert (stream.is_complete, stream.error) == (True, None)


def test_done_without_its_blank_line_is_complete() -> None:
    stage = Stage([HELLO, b"data: [DONE]"])

    stream = stage.run()

    assert stage.received == HELLO + b"data: [DONE]"
    assert stream.is_complete


def test_error_event_of_litellm_is_replaced_by_ours() -> None:
    stage = Stage([HELLO, FAILED + HELLO + DONE, HELLO])

    stream = stage.run()

    assert stage.received == HELLO + error_event("upstream_error")
    assert isinstance(stream.error, LiteLLMError)


@pytest.mark.parametrize("steps", [[ANSWER], [HELLO], [HELLO, LiteLLMError()], [HELLO, FAILED]])
def test_stream_read_to_any_end_is_closed_and_reported_once(steps: list[Step]) -> None:
    stage = Stage(steps)

    stream = stage.run()

    assert (stage.answer.closed, stage.ended) == (1, [stream])


def test_stream_given_up_halfway_is_closed_and_reported_once() -> None:
    stage = Stage([HELLO, HELLO, DONE])

    async def give_up() -> AnswerStream:
        stream = stage.stream()
        await anext(stream)
        await stream.aclose()
        await stream.aclose()
        return stream

    stream = asyncio.run(give_up())

    assert (stage.answer.closed, stage.ended) == (1, [stream])
    assert (stream.is_complete, stream.error) == (False, None)


def test_stream_given_up_before_its_start_is_closed_and_reported_once() -> None:
    stage = Stage([HELLO, DONE])

    async def give_up() -> None:
        await stage.stream().aclose()

    asyncio.run(give_up())

    assert (stage.answer.closed, len(stage.ended)) == (1, 1)


def test_farewell_says_that_the_server_stops() -> None:
    stage = Stage([HELLO, HELLO, DONE])

    async def drain() -> AnswerStream:
        stream = stage.stream()
        await anext(stream)
        assert stream.farewell() == error_event("draining")
        await stream.aclose()
        return stream

    stream = asyncio.run(drain())

    assert isinstance(stream.error, DrainingError)
    assert stage.ended == [stream]


# How it begins


@pytest.mark.parametrize(
    "steps", [[], [FAILED], [b": hello\n\n"], [LiteLLMError()], [b'data: {"choi'], [FAILED + DONE]]
)
def test_stream_that_fails_before_its_first_event_is_no_stream(steps: list[Step]) -> None:
    stage = Stage(steps)

    with pytest.raises(LiteLLMError):
        stage.run()

    assert (stage.answer.closed, stage.ended) == (1, [])


def test_stream_that_begins_with_comments_passes_them_on() -> None:
    stage = Stage([b": hello\n\n", b": again\n\n", HELLO, DONE])

    stage.run()

    assert stage.received == b": hello\n\n: again\n\n" + HELLO + DONE


def test_error_that_comes_with_the_first_event_belongs_to_the_answer() -> None:
    stage = Stage([HELLO + FAILED])

    stage.run()

    assert stage.received == HELLO + error_event("upstream_error")
