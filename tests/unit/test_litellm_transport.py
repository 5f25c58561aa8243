from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from aiohttp import web

from app.config.settings import LiteLLMSettings
from app.services.litellm_transport import Deadline, LiteLLMTransport, UpstreamAnswer
from app.utils.exceptions import LiteLLMError, LiteLLMUnreachableError, UpstreamTimeoutError
from tests.fakes.litellm import FakeLiteLLM, cut, raw, silence, status, stream

T = TypeVar("T")

NOWHERE = "http://127.0.0.1:1"


def ask(
    base_url: str,
    read: Callable[[UpstreamAnswer], Awaitable[T]],
    *,
    deadline_s: float = 10.0,
) -> T:
    """Send one request and ``read`` its answer, on a loop and a session of its own."""

    async def run() -> T:
        transport = LiteLLMTransport(LiteLLMSettings(base_url=base_url))
        try:
            answer = await transport.post("/v1/x", b"{}", {}, Deadline(deadline_s))
            with contextlib.closing(answer):
                return await read(answer)
        finally:
            await transport.close()

    return asyncio.run(run())


async def all_chunks(answer: UpstreamAnswer) -> bytes:
    received = b""
    while chunk := await answer.next_chunk(5):
        received += chunk
    return received


async def json_of(answer: UpstreamAnswer) -> object:
    return await answer.json()


def test_answer_that_is_json_is_parsed(upstream: FakeLiteLLM) -> None:
    upstream.script(status(400, {"a": [1]}))

    assert ask(upstream.url, json_of) == {"a": [1]}


def test_answer_that_is_no_json_is_none(upstream: FakeLiteLLM) -> None:
    upstream.script(raw(b"<html>", "text/html"))

    assert ask(upstream.url, json_of) is None


def test_answer_in_chunks_is_read_to_its_end(upstream: FakeLiteLLM) -> None:
    upstream.script(stream([b"data: a\n\n", b"data: b\n\n"]))

    assert ask(upstream.url, all_chunks) == b"data: a\n\ndata: b\n\n"


def test_answer_that_is_silent_gives_none_after_the_patience(upstream: FakeLiteLLM) -> None:
    upstream.script(silence(b"data: a\n\n"))

    async def read(answer: UpstreamAnswer) -> list[bytes | None]:
        return [await answer.next_chunk(5), await answer.next_chunk(0.01)]

    assert ask(upstream.url, read) == [b"data: a\n\n", None]


def test_answer_that_outlasts_its_deadline_times_out(upstream: FakeLiteLLM) -> None:
    upstream.script(silence(b"data: a\n\n"))

    async def read(answer: UpstreamAnswer) -> None:
        while True:
            await answer.next_chunk(0.02)

    with pytest.raises(UpstreamTimeoutError):
        ask(upstream.url, read, deadline_s=0.1)


def test_answer_without_headers_by_its_deadline_times_out(upstream: FakeLiteLLM) -> None:
    upstream.script(silence())

    with pytest.raises(UpstreamTimeoutError):
        ask(upstream.url, json_of, deadline_s=0.05)


def test_answer_cut_off_is_an_error(upstream: FakeLiteLLM) -> None:
    upstream.script(cut(b"data: a\n\n"))

    with pytest.raises(LiteLLMError):
        ask(upstream.url, all_chunks)


def test_answer_that_stalls_halfway_times_out(upstream: FakeLiteLLM) -> None:
    upstream.script(silence(b'{"half": '))

    with pytest.raises(UpstreamTimeoutError):
        ask(upstream.url, json_of, deadline_s=0.1)


def test_answer_cut_off_while_it_is_parsed_is_an_error(upstream: FakeLiteLLM) -> None:
    upstream.script(cut(b'{"half": '))

    with pytest.raises(LiteLLMError):
        ask(upstream.url, json_of)


def test_answer_that_never_begins_is_an_error(upstream: FakeLiteLLM) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    upstream.script(hang_up)

    with pytest.raises(LiteLLMError) as caught:
        ask(upstream.url, json_of)

    # It was sent, so it may have been paid for: not again.
    assert type(caught.value) is LiteLLMError
    assert len(upstream.calls) == 1


def test_answer_that_is_a_redirect_is_not_followed(upstream: FakeLiteLLM) -> None:
    upstream.script(status(302, {}, {"Location": f"{upstream.url}/elsewhere"}))

    async def read(answer: UpstreamAnswer) -> int:
        return answer.status

    assert ask(upstream.url, read) == 302


def test_litellm_that_cannot_be_reached_is_told_so() -> None:
    with pytest.raises(LiteLLMUnreachableError):
        ask(NOWHERE, json_of)


def test_request_whose_connection_breaks_is_not_sent_again(upstream: FakeLiteLLM) -> None:
    upstream.script(cut(b"data: a\n\n"))

    with pytest.raises(LiteLLMError):
        ask(upstream.url, all_chunks)

    assert len(upstream.calls) == 1
