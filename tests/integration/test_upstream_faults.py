"""Whatever befalls LiteLLM's answer: what the caller hears, who is asked, and that nothing is left.

Every test goes over a real connection to a scripted LiteLLM, and ends with a leak check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.config.settings import Settings
from app.embedded.network import free_port
from tests.asgi_client import AsgiClient, Reply
from tests.catalogs import ALONE, CHAIN, EMBEDDER, MODELS, write_catalog
from tests.fakes import deaf, faults
from tests.fakes.faults import litellm_error
from tests.fakes.litellm import FakeLiteLLM, Handler, cut, endless, raw, silence, stalled_json
from tests.fakes.litellm import stream as stream_of
from tests.watched import WatchedProxy, model_for
from tests.wire import APIS, CHAT, MESSAGES, STREAMED_APIS, Api, error_code, last_event, well

StartWatched = Callable[..., WatchedProxy]

each_api = pytest.mark.parametrize("api", APIS, ids=lambda api: api.path)
each_streamed_api = pytest.mark.parametrize("api", STREAMED_APIS, ids=lambda api: api.path)
CALLS = [(api, False) for api in APIS] + [(api, True) for api in STREAMED_APIS]
each_call = pytest.mark.parametrize(
    ("api", "streamed"),
    CALLS,
    ids=[f"{api.path}-{'stream' if streamed else 'whole'}" for api, streamed in CALLS],
)

# Long enough for any fault that does not hang, on a busy machine.
PATIENT_S = 15.0
# For those that do.
BRIEF_S = 1.0


@pytest.fixture
def start_watched(
    start_asgi: Callable[..., AsgiClient],
    settings: Settings,
    upstream: FakeLiteLLM,
    auth: dict[str, str],
    tmp_path: Path,
) -> Iterator[StartWatched]:
    """Serve a proxy with the small catalogue; the test ends with a check that nothing leaked."""
    upstream.default = well()
    upstream.models = MODELS
    catalog = write_catalog(tmp_path)
    started: list[WatchedProxy] = []

    def start(timeout_s: float = PATIENT_S, base_url: str = upstream.url) -> WatchedProxy:
        litellm = replace(
            settings.litellm,
            base_url=base_url,
            timeout_s=timeout_s,
            config_path=catalog,
            retry_delay_s=0.01,
        )
        client = start_asgi(settings=replace(settings, litellm=litellm))
        started.append(WatchedProxy(client, auth.items(), upstream))
        return started[-1]

    yield start
    for proxy in started:
        proxy.assert_nothing_left()


@pytest.fixture
def proxy(start_watched: StartWatched) -> WatchedProxy:
    return start_watched()


@pytest.fixture
def brief_proxy(start_watched: StartWatched) -> WatchedProxy:
    """A proxy whose calls must be over in a second."""
    return start_watched(timeout_s=BRIEF_S)


def answer_all(upstream: FakeLiteLLM, handler: Handler) -> None:
    """Have every call answered so that is made to a model without fallbacks."""
    upstream.for_model(ALONE, handler)
    upstream.for_model(EMBEDDER, handler)


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


# --- before the first byte: a status --------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
REFUSALS: dict[str, tuple[Handler, int, str]] = {
    "302": (litellm_error(302, "x"), 502, "upstream_error"),
    "400": (litellm_error(400, "invalid_request_error"), 400, "invalid_request_error"),
    "401": (litellm_error(401, "auth_error"), 502, "upstream_error"),
    "403": (litellm_error(403, "auth_error"), 502, "upstream_error"),
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
    proxy: WatchedProxy, upstream: FakeLiteLLM, api: Api, streamed: bool, name: str
) -> None:
    handler, status, code = REFUSALS[name]
    answer_all(upstream, handler)

    reply = proxy.ask(api, streamed=streamed)

    assert_refused(reply, status, code)
    assert upstream.attempts(model_for(api)) == 1


@each_call
def test_rate_limit_of_a_provider_tells_when_to_come_back(
    proxy: WatchedProxy, upstream: FakeLiteLLM, api: Api, streamed: bool
) -> None:
    answer_all(upstream, faults.rate_limited("6.2"))

    reply = proxy.ask(api, streamed=streamed)

    assert (reply.status, reply.header("Retry-After")) == (429, "7")


@each_call
def test_budget_of_litellms_that_is_spent_tells_clients_not_to_retry(
    proxy: WatchedProxy, upstream: FakeLiteLLM, api: Api, streamed: bool
) -> None:
    answer_all(upstream, faults.budget_exceeded())

    reply = proxy.ask(api, streamed=streamed)

    assert (reply.status, reply.header("x-should-retry")) == (402, "false")
    assert reply.header("Retry-After") is None
