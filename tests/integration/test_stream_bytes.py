"""A stream in any form, cut anywhere on the way from LiteLLM, reaches the caller byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.catalogs import ALONE
from tests.fakes import faults
from tests.sse_streams import pieces, recorded
from tests.watched import WatchedProxy
from tests.wire import STREAMED_APIS, Api

# The proxy keeps nothing of one example for the next.
few_examples = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("api", STREAMED_APIS, ids=lambda api: api.path)
@few_examples
@given(data=st.data())
def test_stream_cut_anywhere_is_unchanged(
    proxy: WatchedProxy, api: Api, data: st.DataObject
) -> None:
    stream = data.draw(recorded(api))
    # Each piece is sent when the proxy has read the one before.
    in_pieces = faults.in_pieces(data.draw(pieces(stream.sent)), proxy.has_read)
    proxy.upstream.for_model(ALONE, in_pieces)

    reply = proxy.ask(api, streamed=True)

    assert (reply.status, reply.body) == (200, stream.sent)


@pytest.mark.parametrize(
    "api", [api for api in STREAMED_APIS if api.usage_event], ids=lambda api: api.path
)
@few_examples
@given(data=st.data())
def test_stream_cut_anywhere_loses_only_the_usage_that_was_not_asked_for(
    proxy: WatchedProxy, api: Api, data: st.DataObject
) -> None:
    stream = data.draw(recorded(api))
    in_pieces = faults.in_pieces(data.draw(pieces(stream.sent)), proxy.has_read)
    proxy.upstream.for_model(ALONE, in_pieces)

    reply = proxy.ask(api, streamed=True, stream_options=None)

    assert (reply.status, reply.body) == (200, stream.without_usage)
