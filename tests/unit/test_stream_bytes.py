"""A stream in any form, cut anywhere, reaches the caller byte for byte."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dialects.base import ModelRequest
from app.dialects.registry import DIALECTS
from app.services.answer_stream import AnswerStream
from tests.fakes.upstream import ScriptedAnswer
from tests.sse_streams import pieces, recorded
from tests.wire import STREAMED_APIS, Api

EXAMPLES = 200


def passed(request: ModelRequest, chunks: list[bytes]) -> tuple[bytes, AnswerStream]:
    """Return what a caller gets of these chunks, and the stream when it has ended."""

    async def read() -> tuple[bytes, AnswerStream]:
        reader = request.dialect.stream_reader(request)
        stream = AnswerStream(ScriptedAnswer(chunks), reader, lambda error: error.code.encode())
        await stream.begin()
        return b"".join([chunk async for chunk in stream]), stream

    return asyncio.run(read())


@pytest.mark.parametrize("api", STREAMED_APIS, ids=lambda api: api.path)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_stream_cut_anywhere_is_unchanged(data: st.DataObject, api: Api) -> None:
    stream = data.draw(recorded(api))
    request = DIALECTS[api.path].parse(api.asking("m", streamed=True))

    received, ended = passed(request, data.draw(pieces(stream.sent)))

    assert received == stream.sent
    assert (ended.is_complete, ended.error, ended.usage is not None) == (True, None, True)


@pytest.mark.parametrize(
    "api", [api for api in STREAMED_APIS if api.usage_event], ids=lambda api: api.path
)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_stream_cut_anywhere_loses_only_the_usage_that_was_not_asked_for(
    data: st.DataObject, api: Api
) -> None:
    stream = data.draw(recorded(api))
    request = DIALECTS[api.path].parse(api.asking("m", streamed=True, stream_options=None))

    received, ended = passed(request, data.draw(pieces(stream.sent)))

    assert received == stream.without_usage
    assert (ended.is_complete, ended.error, ended.usage is not None) == (True, None, True)
