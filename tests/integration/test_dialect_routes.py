"""Each API of `/v1` from end to end: the same bytes, the model and its cost, and errors in its own
shape; and models that answer for others."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from app.config.catalog import Catalog
from tests import wire
from tests.asgi_client import AsgiClient, Reply
from tests.fakes.litellm import FakeLiteLLM, Received, cut, status
from tests.wire import APIS, COUNT_TOKENS, EMBEDDINGS, MESSAGES, STREAMED_APIS, Api, error_code

MakeKey = Callable[..., str]
Auth = dict[str, str]

EMBEDDER = "text-embedding-3-small"
FAILURE = status(500, {"error": {"message": "litellm said: sk-internal-0123", "code": "500"}})
REFUSAL = status(400, {"error": {"message": "litellm said: sk-internal-0123", "code": "400"}})


@pytest.fixture
def proxy(start_asgi: Callable[..., AsgiClient], upstream: FakeLiteLLM) -> AsgiClient:
    """A proxy with the catalogue that is shipped, whose LiteLLM answers every API well."""
    upstream.default = wire.well()
    return start_asgi()


@pytest.fixture
def catalog(proxy: AsgiClient) -> Catalog:
    return proxy.server.services.catalog


def post(
    proxy: AsgiClient, path: str, body: bytes, auth: Auth, headers: dict[str, str] | None = None
) -> Reply:
    return proxy.call("POST", path, {**auth, **(headers or {})}.items(), body)


def ask(proxy: AsgiClient, auth: Auth, api: Api, model: str | None = None, **options: Any) -> Reply:
    return post(proxy, api.path, api.asking(model or model_for(api), **options), auth)


def model_for(api: Api) -> str:
    return EMBEDDER if api.mode == "embedding" else "gpt-4"


def asked_models(upstream: FakeLiteLLM) -> list[str]:
    return [call.body["model"] for call in upstream.calls]


def lowered(call: Received) -> dict[str, str]:
    return {name.lower(): value for name, value in call.headers.items()}


def cost(catalog: Catalog, model: str, fresh: int, output: int, cached: int, written: int) -> str:
    """Return a cost in micro-USD, rounded up once."""
    prices = catalog.models[model].prices
    exact = (
        fresh * prices.input
        + output * prices.output
        + cached * prices.cached_input
        + written * prices.cache_write
    )
    return str(-(-exact // 1_000_000))


# Answers


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.path)
def test_whole_answer_comes_back_with_its_model(
    proxy: AsgiClient, auth: Auth, api: Api, upstream: FakeLiteLLM
) -> None:
    reply = ask(proxy, auth, api)

    assert reply.status == 200
    assert orjson.loads(reply.body) == api.answer
    assert reply.header("Content-Type") == "application/json"
    assert reply.header("x-solaris-model") == model_for(api)
    assert [call.path for call in upstream.calls] == [api.path]


@pytest.mark.parametrize("api", STREAMED_APIS, ids=lambda api: api.path)
def test_stream_comes_back_byte_for_byte_with_its_model(
    proxy: AsgiClient, auth: Auth, api: Api, upstream: FakeLiteLLM
) -> None:
    reply = ask(proxy, auth, api, streamed=True)

    assert (reply.status, reply.is_cut) == (200, False)
    assert reply.body == api.stream
    assert reply.header("Content-Type") == "text/event-stream; charset=utf-8"
    assert reply.header("x-solaris-model") == "gpt-4"
    assert reply.header("x-solaris-cost") is None
    assert [call.path for call in upstream.calls] == [api.path]


@pytest.mark.parametrize(
    ("api", "counts"),
    [
        (wire.CHAT, (21, 5, 0, 0)),
        (wire.COMPLETIONS, (21, 5, 0, 0)),
        (EMBEDDINGS, (3, 0, 0, 0)),
        (wire.RESPONSES, (17, 5, 4, 0)),
        (MESSAGES, (21, 5, 4, 2)),
        (COUNT_TOKENS, (0, 0, 0, 0)),
    ],
    ids=lambda it: it.path if isinstance(it, Api) else "",
)
def test_whole_answer_tells_its_exact_cost(
    proxy: AsgiClient,
    auth: Auth,
    catalog: Catalog,
    api: Api,
    counts: tuple[int, int, int, int],
) -> None:
    reply = ask(proxy, auth, api)

    assert reply.header("x-solaris-cost") == cost(catalog, model_for(api), *counts)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.path)
def test_call_forbids_litellm_to_retry_or_fall_back(
    proxy: AsgiClient, auth: Auth, api: Api, upstream: FakeLiteLLM
) -> None:
    body = api.asking(model_for(api), num_retries=9, fallbacks=["gpt-4o"], api_base="http://evil")
    post(proxy, api.path, body, auth)

    (call,) = upstream.calls
    assert (call.body["disable_fallbacks"], call.body["num_retries"]) == (True, 0)
    assert {"fallbacks", "api_base"}.isdisjoint(call.body)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.path)
def test_person_is_sent_as_a_pseudonym_only(
    proxy: AsgiClient, make_key: MakeKey, api: Api, upstream: FakeLiteLLM
) -> None:
    auth = {"Authorization": f"Bearer {make_key(user_id='ana@empresa.example')}"}
    named: dict[str, Any] = (
        {"metadata": {"user_id": "ana"}} if "messages" in api.path else {"user": "ana"}
    )
    ask(proxy, auth, api, **named)

    (call,) = upstream.calls
    sent = call.body.get("user") or call.body["metadata"]["user_id"]
    assert len(sent) == 32
    assert b"ana" not in call.raw


@pytest.mark.parametrize("api", [MESSAGES, COUNT_TOKENS], ids=lambda api: api.path)
def test_person_that_a_trusted_key_names_to_anthropic_is_whom_the_call_is_for(
    proxy: AsgiClient, make_key: MakeKey, api: Api, upstream: FakeLiteLLM
) -> None:
    auth = {"Authorization": f"Bearer {make_key(trusted=True)}"}
    for person in ("ana", "bia", "ana"):
        ask(proxy, auth, api, metadata={"user_id": person})

    ana, bia, ana_again = (call.body["metadata"]["user_id"] for call in upstream.calls)
    assert ana == ana_again != bia


# Anthropic's own


def test_key_in_anthropics_header_is_answered(proxy: AsgiClient, make_key: MakeKey) -> None:
    reply = ask(proxy, {"x-api-key": make_key()}, MESSAGES)

    assert reply.status == 200


def test_headers_for_anthropic_go_on(proxy: AsgiClient, auth: Auth, upstream: FakeLiteLLM) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "context-1m-2025-08-07"}
    for api in (MESSAGES, COUNT_TOKENS):
        post(proxy, api.path, api.asking("gpt-4"), auth, {**headers, "x-secret": "mine"})

    for call in upstream.calls:
        sent = lowered(call)
        assert {name: sent.get(name) for name in headers} == headers
        assert "x-secret" not in sent


def test_headers_for_anthropic_go_nowhere_else(
    proxy: AsgiClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "x"}
    post(proxy, wire.CHAT.path, wire.CHAT.asking("gpt-4"), auth, headers)

    assert headers.keys().isdisjoint(lowered(upstream.calls[-1]))


def test_key_of_the_callers_goes_nowhere(
    proxy: AsgiClient, make_key: MakeKey, upstream: FakeLiteLLM
) -> None:
    key = make_key()
    ask(proxy, {"x-api-key": key}, MESSAGES)

    (call,) = upstream.calls
    assert key not in json.dumps(call.headers)


@pytest.mark.parametrize("streamed", [False, True])
def test_answer_to_anthropics_sdk_has_its_id_under_both_names(
    proxy: AsgiClient, auth: Auth, streamed: bool
) -> None:
    reply = ask(proxy, auth, MESSAGES, streamed=streamed)

    assert reply.header("request-id")
    assert reply.header("request-id") == reply.header("x-request-id")


def test_answer_of_any_other_api_has_its_id_under_one_name(proxy: AsgiClient, auth: Auth) -> None:
    reply = ask(proxy, auth, wire.CHAT)

    assert reply.header("request-id") is None
    assert reply.header("x-request-id")


# Errors


def anthropic_error(reply: Reply) -> tuple[str, str]:
    """Return an error's type and code, which must be told as Anthropic does."""
    body = orjson.loads(reply.body)
    assert set(body) == {"type", "error", "request_id"}
    assert set(body["error"]) == {"type", "message", "code"}
    assert body["type"] == "error"
    assert body["error"]["message"]
    assert body["request_id"] == reply.header("x-request-id")
    return body["error"]["type"], body["error"]["code"]


def wrong_key(proxy: AsgiClient, auth: Auth) -> Reply:
    return ask(proxy, {"x-api-key": "sk-wrong"}, MESSAGES)


def wrong_address(proxy: AsgiClient, auth: Auth) -> Reply:
    return post(proxy, "/v1/messages/batches", b"{}", auth)


def wrong_method(proxy: AsgiClient, auth: Auth) -> Reply:
    return proxy.call("GET", "/v1/messages", auth.items())


def wrong_model(proxy: AsgiClient, auth: Auth) -> Reply:
    return ask(proxy, auth, MESSAGES, "claude-99")


def wrong_body(proxy: AsgiClient, auth: Auth) -> Reply:
    return post(proxy, MESSAGES.path, b"{", auth)


def missing_limit(proxy: AsgiClient, auth: Auth) -> Reply:
    return post(proxy, MESSAGES.path, COUNT_TOKENS.asking("gpt-4"), auth)


Wrong = Callable[[AsgiClient, Auth], Reply]


@pytest.mark.parametrize(
    ("wrong", "code", "expected"),
    [
        (wrong_key, 401, ("authentication_error", "invalid_api_key")),
        (wrong_address, 404, ("not_found_error", "not_found")),
        (wrong_method, 405, ("invalid_request_error", "method_not_allowed")),
        (wrong_model, 404, ("not_found_error", "model_not_found")),
        (wrong_body, 400, ("invalid_request_error", "invalid_request_error")),
        (missing_limit, 400, ("invalid_request_error", "invalid_request_error")),
    ],
)
def test_mistake_under_messages_is_told_as_anthropic_does(
    proxy: AsgiClient, auth: Auth, wrong: Wrong, code: int, expected: tuple[str, str]
) -> None:
    reply = wrong(proxy, auth)

    assert reply.status == code
    assert anthropic_error(reply) == expected


@pytest.mark.parametrize("wrong", [wrong_key, wrong_address, wrong_method, wrong_body])
def test_mistake_under_messages_has_its_id_where_anthropics_sdk_reads_it(
    proxy: AsgiClient, auth: Auth, wrong: Wrong
) -> None:
    reply = wrong(proxy, auth)

    assert reply.header("request-id") == reply.header("x-request-id")


def test_body_under_messages_that_is_too_large_is_told_as_anthropic_does(
    start_asgi: Callable[..., AsgiClient], auth: Auth, upstream: FakeLiteLLM
) -> None:
    reply = post(start_asgi(max_body_bytes=100), MESSAGES.path, b" " * 101, auth)

    assert reply.status == 413
    assert anthropic_error(reply) == ("request_too_large", "request_too_large")
    assert upstream.calls == []


@pytest.mark.parametrize("api", [wire.RESPONSES, EMBEDDINGS, wire.COMPLETIONS])
def test_mistake_anywhere_else_is_told_as_openai_does(
    proxy: AsgiClient, auth: Auth, api: Api
) -> None:
    reply = post(proxy, api.path, b"{", auth)

    error = orjson.loads(reply.body)["error"]
    assert reply.status == 400
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("api", "fields", "param"),
    [
        (wire.RESPONSES, {"previous_response_id": "resp_1"}, "previous_response_id"),
        (wire.RESPONSES, {"background": True}, "background"),
        (EMBEDDINGS, {"stream": True}, "stream"),
        (wire.COMPLETIONS, {"prompt": None}, "prompt"),
    ],
)
def test_field_that_is_wrong_is_named_and_costs_nothing(
    proxy: AsgiClient,
    auth: Auth,
    api: Api,
    fields: dict[str, Any],
    param: str,
    upstream: FakeLiteLLM,
) -> None:
    reply = ask(proxy, auth, api, **fields)

    assert reply.status == 400
    assert orjson.loads(reply.body)["error"]["param"] == param
    assert upstream.calls == []


@pytest.mark.parametrize("api", STREAMED_APIS, ids=lambda api: api.path)
def test_stream_that_fails_ends_with_an_error_in_its_own_shape(
    proxy: AsgiClient, auth: Auth, api: Api, upstream: FakeLiteLLM
) -> None:
    upstream.default = cut(api.events[0])
    reply = ask(proxy, auth, api, streamed=True)

    content = wire.last_event(reply.body)
    assert reply.body.startswith(api.events[0])
    assert content["error"]["code"] == "upstream_error"
    assert (content.get("type") == "error") is (api.path in ("/v1/messages", "/v1/responses"))
    assert content.get("request_id") == (reply.header("x-request-id") if api is MESSAGES else None)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.path)
def test_failure_of_litellms_is_told_without_its_words(
    proxy: AsgiClient, auth: Auth, api: Api, upstream: FakeLiteLLM
) -> None:
    upstream.default = FAILURE
    reply = ask(proxy, auth, api)

    assert (reply.status, error_code(reply.body)) == (502, "upstream_error")
    assert b"sk-internal" not in reply.body


# Who answers


def chain_of(catalog: Catalog, model: str) -> list[str]:
    models = catalog.resolve(model)
    assert models is not None
    return [member.name for member in models]


@pytest.mark.parametrize(
    ("api", "streamed"),
    [
        *((api, False) for api in APIS if api is not EMBEDDINGS),
        *((api, True) for api in STREAMED_APIS),
    ],
    ids=lambda it: it.path if isinstance(it, Api) else "stream" if it else "whole",
)
def test_next_model_answers_where_the_first_fails(
    proxy: AsgiClient,
    auth: Auth,
    catalog: Catalog,
    api: Api,
    streamed: bool,
    upstream: FakeLiteLLM,
) -> None:
    first, second, *_ = chain_of(catalog, "gpt-4")
    upstream.for_model(first, FAILURE)
    reply = ask(proxy, auth, api, streamed=streamed)

    assert reply.status == 200
    assert reply.header("x-solaris-model") == second
    assert asked_models(upstream) == [first, second]


@pytest.mark.parametrize("api", [wire.CHAT, MESSAGES], ids=lambda api: api.path)
def test_group_is_asked_by_the_names_of_its_members(
    proxy: AsgiClient, auth: Auth, catalog: Catalog, api: Api, upstream: FakeLiteLLM
) -> None:
    first, second, third = chain_of(catalog, "claude-group")
    upstream.for_model(first, FAILURE)
    upstream.for_model(second, FAILURE)
    reply = ask(proxy, auth, api, "claude-group")

    assert reply.header("x-solaris-model") == third
    assert asked_models(upstream) == [first, second, third]


def test_group_is_asked_for_what_its_members_can_do(
    proxy: AsgiClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [picture]}]
    reply = ask(proxy, auth, wire.CHAT, "gpt-4-group", messages=messages)

    assert reply.header("x-solaris-model") == "gpt-4-turbo"
    assert asked_models(upstream) == ["gpt-4-turbo"]


def test_cost_is_that_of_the_model_that_answered(
    proxy: AsgiClient, auth: Auth, catalog: Catalog, upstream: FakeLiteLLM
) -> None:
    first, second, *_ = chain_of(catalog, "gpt-4")
    upstream.for_model(first, FAILURE)
    reply = ask(proxy, auth, wire.CHAT)

    expected = cost(catalog, second, 21, 5, 0, 0)
    assert reply.header("x-solaris-cost") == expected != cost(catalog, first, 21, 5, 0, 0)


def test_key_that_may_use_one_model_has_no_other_answer(
    proxy: AsgiClient, make_key: MakeKey, upstream: FakeLiteLLM
) -> None:
    upstream.default = FAILURE
    auth = {"Authorization": f"Bearer {make_key(allowed_models=['gpt-4'])}"}
    reply = ask(proxy, auth, wire.CHAT)

    assert reply.status == 502
    assert asked_models(upstream) == ["gpt-4"]


def test_refusal_of_the_callers_own_request_asks_nobody_else(
    proxy: AsgiClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.default = REFUSAL
    reply = ask(proxy, auth, MESSAGES)

    assert reply.status == 400
    assert anthropic_error(reply) == ("invalid_request_error", "invalid_request_error")
    assert asked_models(upstream) == ["gpt-4"]


def test_embedding_that_fails_asks_nobody_else(
    proxy: AsgiClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.default = FAILURE
    reply = ask(proxy, auth, EMBEDDINGS)

    assert reply.status == 502
    assert asked_models(upstream) == [EMBEDDER]


def test_model_that_is_left_out_is_not_asked(
    proxy: AsgiClient, auth: Auth, catalog: Catalog, upstream: FakeLiteLLM
) -> None:
    first, second, *_ = chain_of(catalog, "gpt-4")
    health = proxy.server.services.health
    for _ in range(catalog.health.unhealthy_threshold):
        health.record_failure(first, "upstream_error")
    reply = ask(proxy, auth, wire.CHAT)

    assert reply.header("x-solaris-model") == second
    assert asked_models(upstream) == [second]


def test_model_with_a_rate_limit_is_left_in_peace_until_its_time(
    proxy: AsgiClient, auth: Auth, catalog: Catalog, upstream: FakeLiteLLM
) -> None:
    first, second, *_ = chain_of(catalog, "gpt-4")
    upstream.for_model(first, status(429, {"error": {}}, {"llm_provider-retry-after": "60"}))
    for _ in range(3):
        ask(proxy, auth, wire.CHAT)

    assert asked_models(upstream) == [first, second, second, second]


def test_way_of_a_call_is_in_the_log(
    proxy: AsgiClient,
    auth: Auth,
    catalog: Catalog,
    upstream: FakeLiteLLM,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second, *_ = chain_of(catalog, "gpt-4")
    upstream.for_model(first, FAILURE)
    with caplog.at_level(logging.INFO, "litellm_integration"):
        reply = ask(proxy, auth, wire.CHAT)

    (hop,) = [it.__dict__ for it in caplog.records if it.message == "model_fallback"]
    (end,) = [it.__dict__ for it in caplog.records if it.message == "litellm_response"]
    assert (hop["original_model"], hop["fallback_model"]) == (first, second)
    assert end["request_id"] == reply.header("x-request-id")
    assert end["path"] == [
        {"model": first, "outcome": "failed", "reason": "upstream_error", "litellm_status": 500},
        {"model": second, "outcome": "answered", "reason": None, "litellm_status": None},
    ]


def test_way_of_a_call_that_nobody_answered_is_in_the_log(
    proxy: AsgiClient,
    auth: Auth,
    catalog: Catalog,
    upstream: FakeLiteLLM,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream.default = FAILURE
    with caplog.at_level(logging.INFO, "litellm_integration"):
        ask(proxy, auth, wire.CHAT)

    (end,) = [it.__dict__ for it in caplog.records if it.message == "litellm_error"]
    assert [step["model"] for step in end["path"]] == chain_of(catalog, "gpt-4")
    assert {step["outcome"] for step in end["path"]} == {"failed"}
    assert "sk-internal" not in caplog.text
