"""Whatever befalls LiteLLM's answer: what the caller hears, who is asked, and that nothing is left.

Every call goes over a real connection to a scripted LiteLLM; every test ends with the check that
no task, no socket and no slot of the proxy stayed behind. The APIs are those of `tests/wire.py`.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

import orjson
import pytest

from app.embedded.network import free_port
from tests.asgi_client import Reply
from tests.catalogs import ALONE, CHAIN, EMBEDDER
from tests.fakes import deaf, faults
from tests.fakes.faults import (
    EVENT_STREAM,
    Arrived,
    litellm_error,
    stream_on_the_wire,
    whole_on_the_wire,
)
from tests.fakes.litellm import Handler, cut, endless, raw, silence, stalled_json
from tests.fakes.litellm import stream as stream_of
from tests.integration.conftest import BRIEF_S
from tests.waiting import wait_until
from tests.watched import WatchedProxy, model_for
from tests.wire import (
    APIS,
    CHAT,
    EMBEDDINGS,
    STREAMED_APIS,
    Api,
    by_api,
    error_code,
    last_event,
)

ApiHandler = Callable[[Api], Handler]
ProxyBefore = Callable[..., WatchedProxy]
Call = tuple[Api, bool]

# Every API, whole; and streamed, where it can be.
CALLS: list[Call] = [(api, False) for api in APIS] + [(api, True) for api in STREAMED_APIS]
CHAT_CALLS = [(api, streamed) for api, streamed in CALLS if api.mode == "chat"]


def name_of(call: Call) -> str:
    return f"{call[0].path}-{'stream' if call[1] else 'whole'}"


each_api = pytest.mark.parametrize("api", APIS, ids=lambda api: api.path)
each_streamed_api = pytest.mark.parametrize("api", STREAMED_APIS, ids=lambda api: api.path)
each_call = pytest.mark.parametrize("call", CALLS, ids=name_of)
each_chat_call = pytest.mark.parametrize("call", CHAT_CALLS, ids=name_of)


def answer_all(proxy: WatchedProxy, handler: Handler) -> None:
    """Have every call answered so that is made to a model without fallbacks."""
    for model in (ALONE, EMBEDDER):
        proxy.upstream.for_model(model, handler)


def ask_all(proxy: WatchedProxy, calls: list[Call], model: str | None = None) -> list[Reply]:
    """Make all calls at the same time: what hangs, hangs for all at once."""
    under_way = [proxy.begin(api, model, streamed=streamed)[1] for api, streamed in calls]
    return [future.result(25) for future in under_way]


def assert_refused(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, error_code(reply.body)) == (status, code)
    assert reply.header("Content-Type") == "application/json"
    assert_tells_nothing(reply)


def assert_broken_off(reply: Reply, api: Api, code: str, *, after: bytes) -> None:
    """The caller got ``after``, and then an error instead of an end."""
    assert reply.status == 200
    assert reply.body.startswith(after)
    assert last_event(reply.body)["error"]["code"] == code
    assert api.end not in reply.body
    assert not reply.is_cut
    assert_tells_nothing(reply)


def assert_tells_nothing(reply: Reply) -> None:
    """LiteLLM's own words quote keys, addresses and prompts."""
    assert b"sk-internal" not in reply.body
    assert b"litellm" not in reply.body.lower()
    assert b"<html>" not in reply.body


# --- before the first byte: a status -------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
REFUSALS: dict[str, tuple[Handler, int, str]] = {
    "302": (litellm_error(302, "x"), 502, "upstream_error"),
    "400": (litellm_error(400, "invalid_request_error"), 400, "invalid_request_error"),
    "401": (litellm_error(401, "auth_error"), 502, "upstream_error"),
    "403": (litellm_error(403, "auth_error"), 502, "upstream_error"),
    # The catalogue names the model: the caller did nothing wrong.
    "404": (litellm_error(404, "invalid_request_error"), 502, "upstream_error"),
    "408": (litellm_error(408, "invalid_request_error"), 504, "upstream_timeout"),
    "409": (litellm_error(409, "invalid_request_error"), 400, "invalid_request_error"),
    "413": (litellm_error(413, "invalid_request_error"), 400, "invalid_request_error"),
    "422": (litellm_error(422, "invalid_request_error"), 400, "invalid_request_error"),
    "422_budget": (faults.budget_exceeded(), 402, "insufficient_quota"),
    "429": (faults.rate_limited("7"), 429, "rate_limit_exceeded"),
    "500": (litellm_error(500, "internal_server_error"), 502, "upstream_error"),
    "502": (litellm_error(502, "internal_server_error"), 502, "upstream_error"),
    "503": (litellm_error(503, "overloaded_error"), 503, "upstream_unavailable"),
    "504": (litellm_error(504, "internal_server_error"), 504, "upstream_timeout"),
    "529": (litellm_error(529, "overloaded_error"), 502, "upstream_error"),
    "500_html": (raw(b"<html>sk-internal</html>", "text/html", 500), 502, "upstream_error"),
    "200_html": (raw(b"<html>sk-internal</html>", "text/html"), 502, "upstream_error"),
    "200_html_as_json": (raw(b"<html>", "application/json"), 502, "upstream_error"),
    "200_empty": (raw(b"", "application/json"), 502, "upstream_error"),
    "200_null": (raw(b"null", "application/json"), 502, "upstream_error"),
    "200_list": (raw(b"[]", "application/json"), 502, "upstream_error"),
    "200_not_utf_8": (raw(b'{"id": "\xff"}', "application/json"), 502, "upstream_error"),
    "200_error": (litellm_error(200, "x"), 502, "upstream_error"),
    "reset_before_headers": (faults.reset(), 502, "upstream_error"),
    "reset_within_headers": (faults.reset(HEAD), 502, "upstream_error"),
    "closed_before_headers": (faults.on_the_wire(b""), 502, "upstream_error"),
    "closed_within_headers": (faults.on_the_wire(HEAD), 502, "upstream_error"),
    "not_http": (faults.on_the_wire(b"\x16\x03\x01\x02\r\n\r\n"), 502, "upstream_error"),
    "headers_too_long": (
        faults.on_the_wire(HEAD + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n{}"),
        502,
        "upstream_error",
    ),
}


@each_call
@pytest.mark.parametrize("name", REFUSALS)
def test_answer_that_is_refused_or_junk_is_a_status_after_one_attempt(
    proxy: WatchedProxy, call: Call, name: str
) -> None:
    api, streamed = call
    handler, status, code = REFUSALS[name]
    answer_all(proxy, handler)

    reply = proxy.ask(api, streamed=streamed)

    assert_refused(reply, status, code)
    assert proxy.upstream.attempts(model_for(api)) == 1


@each_call
def test_rate_limit_of_a_provider_tells_when_to_come_back(proxy: WatchedProxy, call: Call) -> None:
    api, streamed = call
    answer_all(proxy, faults.rate_limited("6.2"))

    reply = proxy.ask(api, streamed=streamed)

    assert (reply.status, reply.header("Retry-After")) == (429, "7")


@each_call
def test_budget_of_litellms_that_is_spent_tells_clients_not_to_retry(
    proxy: WatchedProxy, call: Call
) -> None:
    api, streamed = call
    answer_all(proxy, faults.budget_exceeded())

    reply = proxy.ask(api, streamed=streamed)

    assert (reply.status, reply.header("x-should-retry")) == (402, "false")
    assert reply.header("Retry-After") is None


# --- a whole answer ------------------------------------------------------------------------------


def on_the_wire(api: Api) -> bytes:
    return whole_on_the_wire(api.whole_answer())


def without_usage(api: Api) -> bytes:
    return orjson.dumps({name: it for name, it in api.answer.items() if name != "usage"})


def sizes(content: bytes) -> list[int]:
    """Return how much of ``content`` to send: about a hundred sizes, and each of the last 20."""
    last = max(0, len(content) - 20)
    return [*range(0, last, max(1, last // 100)), *range(last, len(content) + 1)]


BROKEN_WHOLE: dict[str, ApiHandler] = {
    "closed_within": lambda api: faults.on_the_wire(on_the_wire(api)[:-3]),
    "reset_within": lambda api: faults.reset(on_the_wire(api)[:-3]),
    "longer_than_it_says": lambda api: faults.on_the_wire(
        on_the_wire(api).replace(b"Content-Length: ", b"Content-Length: 1\r\nX-Said: ")
    ),
    "ended_by_the_connection": lambda api: faults.on_the_wire(
        HEAD + b"Connection: close\r\n\r\n" + api.whole_answer()[:-3]
    ),
    "packing_is_none": lambda api: faults.encoded([api.whole_answer()], "gzip"),
    "packing_is_cut": lambda api: faults.encoded([gzip.compress(api.whole_answer())[:-12]], "gzip"),
    "packing_is_unknown": lambda api: faults.encoded([api.whole_answer()], "br"),
}


@each_api
@pytest.mark.parametrize("name", BROKEN_WHOLE)
def test_whole_answer_that_is_broken_is_502_after_one_attempt(
    proxy: WatchedProxy, api: Api, name: str
) -> None:
    answer_all(proxy, BROKEN_WHOLE[name](api))

    reply = proxy.ask(api)

    assert_refused(reply, 502, "upstream_error")
    assert proxy.upstream.attempts(model_for(api)) == 1


@each_api
def test_whole_answer_reset_at_any_byte_is_502(proxy: WatchedProxy, api: Api) -> None:
    sent = on_the_wire(api)
    for size in sizes(sent):
        proxy.forget()
        answer_all(proxy, faults.reset(sent[:size], arrived=proxy.has_read))

        reply = proxy.ask(api)

        assert reply.status == (200 if size == len(sent) else 502), f"after {size} bytes"


WHOLE_IN_ODD_FORMS: dict[str, ApiHandler] = {
    "byte_by_byte": lambda api: faults.dripping(on_the_wire(api), pause_s=0.0002),
    "packed": lambda api: faults.compressed([api.whole_answer()], content_type="application/json"),
    "ended_by_the_connection": lambda api: faults.on_the_wire(
        HEAD + b"Connection: close\r\n\r\n" + api.whole_answer()
    ),
}


@each_api
@pytest.mark.parametrize("name", WHOLE_IN_ODD_FORMS)
def test_whole_answer_in_an_odd_form_comes_back(proxy: WatchedProxy, api: Api, name: str) -> None:
    answer_all(proxy, WHOLE_IN_ODD_FORMS[name](api))

    reply = proxy.ask(api)

    assert (reply.status, orjson.loads(reply.body)) == (200, api.answer)


@pytest.mark.parametrize("api", [CHAT, EMBEDDINGS], ids=lambda api: api.path)
def test_whole_answer_without_usage_comes_back_and_tells_no_cost(
    proxy: WatchedProxy, api: Api
) -> None:
    answer_all(proxy, raw(without_usage(api), "application/json"))

    reply = proxy.ask(api)

    assert (reply.status, orjson.loads(reply.body)) == (200, orjson.loads(without_usage(api)))
    assert reply.header("x-solaris-model") == model_for(api)
    assert reply.header("x-solaris-cost") is None


# --- a stream, before its first event ------------------------------------------------------------


def begun(api: Api, events: int) -> bytes:
    """Return the first events of a stream as they are on the wire."""
    return stream_on_the_wire(api.events[:events]).removesuffix(b"0\r\n\r\n")


STREAM_HEAD = begun(CHAT, 0)
BROKEN_BEFORE_FIRST: dict[str, ApiHandler] = {
    "ended": lambda _api: stream_of([]),
    "cut": lambda _api: cut(),
    "reset": lambda _api: faults.reset(STREAM_HEAD),
    "error_event": lambda api: stream_of([api.failure, *api.events]),
    "error_event_after_a_comment": lambda api: stream_of([b": hello\n\n", api.failure]),
    "ended_within_the_first": lambda api: stream_of([api.events[0][:-5]]),
    "cut_within_the_first": lambda api: cut(api.events[0][:-5]),
    "html": lambda _api: raw(b"<html>sk-internal</html>", EVENT_STREAM),
    "packing_is_none": lambda api: faults.encoded(api.events, "gzip"),
    "packing_is_unknown": lambda _api: faults.encoded([b"\x00"], "br"),
}


@each_streamed_api
@pytest.mark.parametrize("name", BROKEN_BEFORE_FIRST)
def test_stream_that_breaks_before_its_first_event_is_502_after_one_attempt(
    proxy: WatchedProxy, api: Api, name: str
) -> None:
    answer_all(proxy, BROKEN_BEFORE_FIRST[name](api))

    reply = proxy.ask(api, streamed=True)

    assert_refused(reply, 502, "upstream_error")
    assert proxy.upstream.attempts(ALONE) == 1


# --- a stream, after its first event -------------------------------------------------------------

HTTP_1_0 = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
BROKEN_AFTER_FIRST: dict[str, Callable[[Api, Arrived], Handler]] = {
    "ended": lambda api, read: faults.in_pieces(api.events[:1], read),
    "ended_before_the_last": lambda api, read: faults.in_pieces(api.events[:-1], read),
    "ended_within_the_last": lambda api, read: faults.in_pieces(
        [*api.events[:-1], api.end[:-7]], read
    ),
    "cut": lambda api, _read: cut(api.events[0]),
    "cut_within_an_event": lambda api, _read: cut(api.events[0], api.events[1][:-5]),
    "reset": lambda api, read: faults.reset(begun(api, 1), arrived=read),
    "reset_within_an_event": lambda api, read: faults.reset(begun(api, 2)[:-9], arrived=read),
    "error_event": lambda api, read: faults.in_pieces([api.events[0], api.failure], read),
    "error_event_then_more": lambda api, read: faults.in_pieces(
        [api.events[0], api.failure, *api.events[1:]], read
    ),
    "bad_packing": lambda api, read: faults.encoded(
        [faults.gzipped(api.events)[0], b"x" * 99], "gzip", read
    ),
    "closed_by_http_1_0": lambda api, read: faults.on_the_wire(
        HTTP_1_0 + api.events[0], arrived=read
    ),
}


@each_streamed_api
@pytest.mark.parametrize("name", BROKEN_AFTER_FIRST)
def test_stream_that_breaks_after_its_first_event_ends_with_an_error_event(
    proxy: WatchedProxy, api: Api, name: str
) -> None:
    answer_all(proxy, BROKEN_AFTER_FIRST[name](api, proxy.has_read))

    reply = proxy.ask(api, streamed=True)

    assert_broken_off(reply, api, "upstream_error", after=api.events[0])
    assert proxy.upstream.attempts(ALONE) == 1


@each_streamed_api
def test_stream_reset_at_any_byte_is_never_taken_for_complete(
    proxy: WatchedProxy, api: Api
) -> None:
    sent = stream_on_the_wire(api.events)
    ends = [sent.index(event) + len(event) for event in api.events]
    for size in sizes(sent):
        proxy.forget()
        answer_all(proxy, faults.reset(sent[:size], arrived=proxy.has_read))

        reply = proxy.ask(api, streamed=True)

        came = api.events[: sum(end <= size for end in ends)]
        if not came:
            assert_refused(reply, 502, "upstream_error")
        elif len(came) < len(ends):
            assert_broken_off(reply, api, "upstream_error", after=b"".join(came))
            assert reply.body.count(b"\n\n") == len(came) + 1, f"after {size} bytes"
        else:
            assert (reply.status, reply.body) == (200, api.stream), f"after {size} bytes"


@each_streamed_api
def test_stream_that_breaks_while_its_caller_is_slow_gives_all_that_came(
    proxy: WatchedProxy, api: Api
) -> None:
    first, whole = begun(api, 1), begun(api, len(api.events))
    answer_all(proxy, faults.reset(first, whole.removeprefix(first), arrived=proxy.has_read))
    slow = proxy.exchange(api, streamed=True)
    proxy.client.run(slow.stop_reading())
    under_way = proxy.client.submit(slow.run())
    wait_until(lambda: proxy.upstream.attempts(ALONE) and not proxy.upstream.open_streams)

    proxy.client.run(slow.read_on())

    reply = under_way.result(20)
    assert (reply.status, reply.body) == (200, api.stream)


# Long before the deadline, that is: aiohttp itself says nothing to whoever waits for more.
BADLY_FRAMED: dict[str, tuple[bytes, bool]] = {
    "whole": (STREAM_HEAD.replace(b"text/event-stream", b"application/json"), False),
    "stream_before_its_first_event": (STREAM_HEAD, True),
    "stream_after_its_first_event": (begun(CHAT, 1), True),
}


@pytest.mark.parametrize("name", BADLY_FRAMED)
def test_answer_whose_framing_breaks_is_an_upstream_error(proxy: WatchedProxy, name: str) -> None:
    head, streamed = BADLY_FRAMED[name]
    answer_all(proxy, faults.on_the_wire(head, b"zz\r\n", arrived=proxy.has_read))

    reply = proxy.ask(CHAT, streamed=streamed)

    if head == begun(CHAT, 1):
        assert_broken_off(reply, CHAT, "upstream_error", after=CHAT.events[0])
    else:
        assert_refused(reply, 502, "upstream_error")


# --- a stream in odd forms -----------------------------------------------------------------------

SIZE_OF_LONG_LINE = 64 * 1024 * 1024
STREAMS_IN_ODD_FORMS: dict[str, Callable[[Api, Arrived], Handler]] = {
    "at_once": lambda api, _read: stream_of([api.stream]),
    "packed": lambda api, _read: faults.compressed(api.events),
    "cut_after_its_end": lambda api, _read: cut(*api.events),
    "reset_after_its_end": lambda api, read: faults.reset(
        begun(api, len(api.events)), arrived=read
    ),
    "closed_by_http_1_0": lambda api, _read: faults.on_the_wire(HTTP_1_0 + api.stream),
    "failed_after_its_end": lambda api, read: faults.in_pieces([api.stream, api.failure], read),
    "failed_at_its_end": lambda api, _read: stream_of([api.stream + api.failure]),
}


@each_streamed_api
@pytest.mark.parametrize("name", STREAMS_IN_ODD_FORMS)
def test_stream_in_an_odd_form_is_unchanged(proxy: WatchedProxy, api: Api, name: str) -> None:
    answer_all(proxy, STREAMS_IN_ODD_FORMS[name](api, proxy.has_read))

    reply = proxy.ask(api, streamed=True)

    assert (reply.status, reply.body) == (200, api.stream)


@each_streamed_api
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_stream_in_pieces_through_letters_and_line_ends_is_unchanged(
    proxy: WatchedProxy, api: Api, line_end: bytes, size: int
) -> None:
    sent = api.stream.replace(b"\n", line_end)
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    answer_all(proxy, faults.in_pieces(pieces, proxy.has_read))

    reply = proxy.ask(api, streamed=True)

    assert (reply.status, reply.body) == (200, sent)


@pytest.mark.parametrize("opening", [b"data: ", b": ", b""], ids=["data", "comment", "nothing"])
def test_stream_with_a_line_of_64_mb_is_unchanged(proxy: WatchedProxy, opening: bytes) -> None:
    line = opening + b"x" * SIZE_OF_LONG_LINE + b"\n\n"
    answer_all(proxy, stream_of([line, *CHAT.events]))

    reply = proxy.ask(CHAT, streamed=True)

    assert reply.status == 200
    # Not in one comparison: pytest would look for the difference.
    assert len(reply.body) == len(line) + len(CHAT.stream)
    assert reply.body.startswith(opening + b"x")
    assert reply.body.endswith(b"x\n\n" + CHAT.stream)


@each_streamed_api
def test_stream_without_usage_is_unchanged(proxy: WatchedProxy, api: Api) -> None:
    events = [event for event in api.events if b'"usage": {' not in event or event == api.end]
    answer_all(proxy, stream_of(events))

    reply = proxy.ask(api, streamed=True)

    assert (reply.status, reply.body) == (200, b"".join(events))


# --- hanging: one deadline -----------------------------------------------------------------------

HANGING_WHOLE: dict[str, ApiHandler] = {
    "before_headers": lambda _api: silence(),
    "within_headers": lambda _api: faults.dripping(b"x" * 99, after=HEAD + b"X: ", pause_s=0.1),
    "within_the_answer": lambda _api: stalled_json(),
    "byte_by_byte": lambda api: faults.dripping(on_the_wire(api), pause_s=0.1),
}
HANGING_BEFORE_FIRST: dict[str, ApiHandler] = {
    "before_headers": lambda _api: silence(),
    "within_headers": lambda _api: faults.dripping(b"x" * 99, after=HEAD + b"X: ", pause_s=0.1),
    "after_headers": lambda _api: silence(b""),
    "after_a_comment": lambda _api: silence(b": hello\n\n"),
    "with_comments": lambda _api: endless(b": hello\n\n", pause_s=0.05),
    "within_the_first_event": lambda api: silence(api.events[0][:-1]),
}
HANGING_AFTER_FIRST: dict[str, ApiHandler] = {
    "mid_stream": lambda api: silence(api.events[0]),
    "within_an_event": lambda api: silence(api.events[0], api.events[1][:-5]),
    "never_ending": lambda api: endless(api.events[0], pause_s=0.01),
    "byte_by_byte": lambda api: faults.dripping(
        b"x" * 99, after=begun(api, 1) + b"1000\r\n", pause_s=0.05
    ),
}


@pytest.mark.parametrize("name", HANGING_WHOLE)
def test_whole_answer_that_hangs_is_504_after_one_attempt(
    brief_proxy: WatchedProxy, name: str
) -> None:
    answer_all(brief_proxy, by_api(HANGING_WHOLE[name]))

    replies = ask_all(brief_proxy, [(api, False) for api in APIS])

    for reply in replies:
        assert_refused(reply, 504, "upstream_timeout")
    assert len(brief_proxy.upstream.calls) == len(APIS)


@pytest.mark.parametrize("name", HANGING_BEFORE_FIRST)
def test_stream_that_hangs_before_its_first_event_is_504_after_one_attempt(
    brief_proxy: WatchedProxy, name: str
) -> None:
    answer_all(brief_proxy, by_api(HANGING_BEFORE_FIRST[name]))

    replies = ask_all(brief_proxy, [(api, True) for api in STREAMED_APIS])

    for reply in replies:
        assert_refused(reply, 504, "upstream_timeout")
    assert len(brief_proxy.upstream.calls) == len(STREAMED_APIS)


@pytest.mark.parametrize("name", HANGING_AFTER_FIRST)
def test_stream_that_hangs_after_its_first_event_ends_with_an_error_event(
    brief_proxy: WatchedProxy, name: str
) -> None:
    answer_all(brief_proxy, by_api(HANGING_AFTER_FIRST[name]))

    replies = ask_all(brief_proxy, [(api, True) for api in STREAMED_APIS])

    for api, reply in zip(STREAMED_APIS, replies, strict=True):
        assert_broken_off(reply, api, "upstream_timeout", after=api.events[0])
    assert len(brief_proxy.upstream.calls) == len(STREAMED_APIS)


# --- no way to LiteLLM ---------------------------------------------------------------------------


@each_call
def test_litellm_that_does_not_listen_is_503(proxy_before: ProxyBefore, call: Call) -> None:
    api, streamed = call
    proxy = proxy_before(f"http://127.0.0.1:{free_port()}")

    reply = proxy.ask(api, streamed=streamed)

    assert_refused(reply, 503, "upstream_unavailable")


def test_litellm_that_lets_nobody_connect_is_503(proxy_before: ProxyBefore) -> None:
    with deaf.silent_at_connect() as url:
        # Connecting is given up after 5 s, whatever time there is for the call.
        reply = proxy_before(url, retries=0).ask(CHAT)

    assert_refused(reply, 503, "upstream_unavailable")


def test_litellm_that_lets_nobody_connect_before_the_deadline_is_504(
    proxy_before: ProxyBefore,
) -> None:
    with deaf.silent_at_connect() as url:
        reply = proxy_before(url, timeout_s=BRIEF_S).ask(CHAT)

    assert_refused(reply, 504, "upstream_timeout")


def test_litellm_that_never_accepts_is_504(proxy_before: ProxyBefore) -> None:
    with deaf.silent_after_connect() as url:
        reply = proxy_before(url, timeout_s=BRIEF_S).ask(CHAT)

    assert_refused(reply, 504, "upstream_timeout")


def test_litellm_that_hangs_up_on_us_is_502_after_one_attempt(
    proxy_before: ProxyBefore,
) -> None:
    with deaf.hangs_up() as (url, connections):
        proxy = proxy_before(url)
        wait_until(lambda: connections)  # the check of health at the start
        connections.clear()
        reply = proxy.ask(CHAT)

    assert_refused(reply, 502, "upstream_error")
    assert len(connections) == 1


# --- the next model of the chain -----------------------------------------------------------------

CALLERS_OWN = ("400", "409", "413", "422", "422_budget")


def attempts(proxy: WatchedProxy) -> tuple[int, ...]:
    """Return how often each model of the chain was asked."""
    return tuple(proxy.upstream.attempts(model) for model in CHAIN)


@each_chat_call
@pytest.mark.parametrize("name", [name for name in REFUSALS if name not in CALLERS_OWN])
def test_model_that_fails_has_the_next_one_answer(
    proxy: WatchedProxy, call: Call, name: str
) -> None:
    api, streamed = call
    proxy.upstream.for_model("a", REFUSALS[name][0])

    reply = proxy.ask(api, "a", streamed=streamed)

    assert (reply.status, reply.header("x-solaris-model")) == (200, "b")
    assert attempts(proxy) == (1, 1, 0)


@each_streamed_api
@pytest.mark.parametrize("name", BROKEN_BEFORE_FIRST)
def test_stream_that_breaks_before_its_first_event_has_the_next_model_answer(
    proxy: WatchedProxy, api: Api, name: str
) -> None:
    proxy.upstream.for_model("a", BROKEN_BEFORE_FIRST[name](api))

    reply = proxy.ask(api, "a", streamed=True)

    assert (reply.status, reply.body) == (200, api.stream)
    assert attempts(proxy) == (1, 1, 0)


@each_chat_call
@pytest.mark.parametrize("name", CALLERS_OWN)
def test_refusal_of_the_callers_own_request_asks_no_other_model(
    proxy: WatchedProxy, call: Call, name: str
) -> None:
    api, streamed = call
    handler, status, code = REFUSALS[name]
    proxy.upstream.for_model("a", handler)

    reply = proxy.ask(api, "a", streamed=streamed)

    assert_refused(reply, status, code)
    assert attempts(proxy) == (1, 0, 0)


@each_streamed_api
@pytest.mark.parametrize("name", BROKEN_AFTER_FIRST)
def test_stream_that_has_begun_is_never_moved_to_another_model(
    proxy: WatchedProxy, api: Api, name: str
) -> None:
    proxy.upstream.for_model("a", BROKEN_AFTER_FIRST[name](api, proxy.has_read))

    reply = proxy.ask(api, "a", streamed=True)

    assert_broken_off(reply, api, "upstream_error", after=api.events[0])
    assert attempts(proxy) == (1, 0, 0)


@each_chat_call
def test_chain_that_fails_to_its_end_tells_what_the_first_model_said(
    proxy: WatchedProxy, call: Call
) -> None:
    api, streamed = call
    for model, name in zip(CHAIN, ("408", "500", "429"), strict=True):
        proxy.upstream.for_model(model, REFUSALS[name][0])

    reply = proxy.ask(api, "a", streamed=streamed)

    assert_refused(reply, 504, "upstream_timeout")
    assert attempts(proxy) == (1, 1, 1)


def test_chain_whose_first_model_hangs_is_over_at_the_deadline(brief_proxy: WatchedProxy) -> None:
    brief_proxy.upstream.for_model("a", silence())

    replies = ask_all(brief_proxy, CHAT_CALLS, "a")

    for reply in replies:
        assert_refused(reply, 504, "upstream_timeout")
    assert attempts(brief_proxy) == (len(CHAT_CALLS), 0, 0)


def test_chain_whose_models_fail_slowly_shares_one_deadline(brief_proxy: WatchedProxy) -> None:
    slow = faults.after(0.6, litellm_error(500, "internal_server_error"))
    for model in CHAIN:
        brief_proxy.upstream.for_model(model, slow)

    replies = ask_all(brief_proxy, CHAT_CALLS, "a")

    for reply in replies:
        assert_refused(reply, 502, "upstream_error")
    assert attempts(brief_proxy) == (len(CHAT_CALLS), len(CHAT_CALLS), 0)


def test_litellm_that_does_not_listen_is_no_models_fault(proxy_before: ProxyBefore) -> None:
    proxy = proxy_before(f"http://127.0.0.1:{free_port()}")

    reply = proxy.ask(CHAT, "a")

    assert_refused(reply, 503, "upstream_unavailable")
    health = proxy.client.server.services.health
    assert [health.of(model).outcomes.requests for model in CHAIN] == [0, 0, 0]


# --- the connection ------------------------------------------------------------------------------


def test_answers_read_to_their_end_share_one_connection(proxy: WatchedProxy) -> None:
    for api, streamed in CALLS:
        proxy.ask(api, streamed=streamed)

    assert len(proxy.upstream.calls) == len(CALLS)
    assert proxy.upstream.used_connections == 1


# --- the caller leaves ---------------------------------------------------------------------------

LEFT: dict[str, dict[str, Handler]] = {
    "before_headers": {"a": silence()},
    "after_headers": {"a": silence(b"")},
    "among_comments": {"a": endless(b": hello\n\n", pause_s=0.01)},
    "mid_stream": {"a": endless(CHAT.events[0], pause_s=0.01)},
    "before_headers_of_the_next_model": {"a": litellm_error(500, "x"), "b": silence()},
}


@pytest.mark.parametrize("name", LEFT)
def test_caller_who_leaves_has_nobody_else_asked(proxy: WatchedProxy, name: str) -> None:
    for model, handler in LEFT[name].items():
        proxy.upstream.for_model(model, handler)
    exchange, under_way = proxy.begin(CHAT, "a", streamed=True)
    wait_until(lambda: sum(attempts(proxy)) == len(LEFT[name]) and proxy.upstream.open_streams)

    proxy.client.run(exchange.leave())

    under_way.result(20)
    wait_until(lambda: not proxy.upstream.open_connections)
    assert proxy.upstream.closed_early == 1
    assert sum(attempts(proxy)) == len(LEFT[name])
