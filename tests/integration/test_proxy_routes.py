"""`/v1` from the caller's side and from LiteLLM's: what is sent, and what comes back."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.config.settings import Settings
from app.embedded.network import free_port
from app.extensions import db, services_of
from app.serving.flask_app import SolarisFlask
from tests.conftest import ADMIN_KEY, MASTER_KEY
from tests.fakes.litellm import (
    USAGE,
    FakeLiteLLM,
    Handler,
    Received,
    completion,
    cut,
    openai_events,
    raw,
    silence,
    stalled_json,
    status,
    stream,
)

Auth = dict[str, str]
MakeKey = Callable[..., str]
MakeClient = Callable[..., FlaskClient]

QUESTION = [{"role": "user", "content": "oi"}]
CHAT: dict[str, Any] = {"model": "gpt-4", "messages": QUESTION}
EVENTS = openai_events(["olá", "mundo"], USAGE)
USAGE_EVENT = EVENTS[-2]
# What a caller must never read: the words in which LiteLLM tells of itself.
INTERNAL = "litellm.Router at http://10.0.0.7:4000 with sk-internal-0123 said: Messages: [oi]"


@pytest.fixture
def client_with(settings: Settings) -> Iterator[MakeClient]:
    """A client of an application with other settings: ``client_with(locale="en")``; those of
    ``litellm=`` change LiteLLM's."""
    apps: list[SolarisFlask] = []

    def make(*, litellm: dict[str, Any] | None = None, **options: Any) -> FlaskClient:
        changed = replace(settings.litellm, **litellm or {})
        apps.append(create_app(replace(settings, litellm=changed, **options)))
        return apps[-1].test_client()

    yield make
    for app in apps:
        app.background_loop.run(services_of(app).close())
        app.background_loop.stop()
        with app.app_context():
            db.engine.dispose()


def ask(client: FlaskClient, auth: Auth, **fields: Any) -> TestResponse:
    response = client.post("/v1/chat/completions", json={**CHAT, **fields}, headers=auth)
    response.get_data()  # a stream is read to its end
    return response


def error_of(response: TestResponse) -> dict[str, Any]:
    error: dict[str, Any] = orjson.loads(response.data)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def last_error(response: TestResponse) -> dict[str, Any]:
    """Return the error event that ends a broken stream."""
    *_, last, end = response.data.split(b"\n\n")
    assert end == b""
    error: dict[str, Any] = orjson.loads(last.removeprefix(b"data: "))["error"]
    return error


def lowered(call: Received) -> dict[str, str]:
    return {name.lower(): value for name, value in call.headers.items()}


# --- models --------------------------------------------------------------------------------------


def test_models_for_a_key_without_limits_are_all_of_the_catalogue(
    client: FlaskClient, auth: Auth, app: SolarisFlask
) -> None:
    response = client.get("/v1/models", headers=auth)

    listed = response.get_json()
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]] == services_of(app).catalog.names()
    assert {"gpt-4", "claude-3-opus", "gemini-pro", "gpt-4-group"} <= {
        entry["id"] for entry in listed["data"]
    }


def test_models_for_a_limited_key_are_only_its_own(client: FlaskClient, make_key: MakeKey) -> None:
    auth = {"Authorization": f"Bearer {make_key(allowed_models=['gpt-4o'])}"}

    response = client.get("/v1/models", headers=auth)

    assert [entry["id"] for entry in response.get_json()["data"]] == ["gpt-4o"]


@pytest.mark.parametrize(
    ("model", "owner"),
    [("gpt-4", "openai"), ("gemini-pro", "google"), ("gpt-4-group", "ia-solaris")],
)
def test_model_of_the_catalogue_is_described(
    client: FlaskClient, auth: Auth, model: str, owner: str
) -> None:
    response = client.get(f"/v1/models/{model}", headers=auth)

    body = response.get_json()
    assert (body["id"], body["object"], body["owned_by"]) == (model, "model", owner)
    assert isinstance(body["created"], int)


@pytest.mark.parametrize("model", ["gpt-9", "a/b", "gpt-4%20"])
def test_model_that_is_unknown_is_404(client: FlaskClient, auth: Auth, model: str) -> None:
    response = client.get(f"/v1/models/{model}", headers=auth)

    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"


def test_model_that_is_not_allowed_is_403(client: FlaskClient, make_key: MakeKey) -> None:
    auth = {"Authorization": f"Bearer {make_key(allowed_models=['gpt-4o'])}"}

    response = client.get("/v1/models/gpt-4", headers=auth)

    assert response.status_code == 403
    assert error_of(response)["code"] == "model_not_allowed"


# --- what is sent to LiteLLM ---------------------------------------------------------------------


def test_call_reaches_litellm_with_our_key_and_our_id(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    response = ask(client, auth)

    sent = lowered(upstream.calls[0])
    assert upstream.calls[0].path == "/v1/chat/completions"
    assert sent["authorization"] == f"Bearer {MASTER_KEY}"
    assert sent["x-litellm-call-id"] == response.headers["x-request-id"]


def test_call_forbids_litellm_to_retry_or_fall_back(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    ask(client, auth, disable_fallbacks=False, num_retries=9, fallbacks=["gpt-4o"])

    sent = upstream.calls[0].body
    assert (sent["disable_fallbacks"], sent["num_retries"]) == (True, 0)
    assert "fallbacks" not in sent


def test_call_with_steering_fields_loses_them_and_keeps_the_rest(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    steering = {
        "api_key": "sk-mine",
        "api_base": "http://evil.example",
        "base_url": "http://evil.example",
        "mock_response": "free",
        "metadata": {"tags": ["x"]},
        "cache": {"no-cache": True},
        "timeout": 1,
        "extra_headers": {"a": "b"},
        "litellm_session_id": "x",
        "user_api_key_user_id": "ana",
        "request_id": "mine",
        "self": 1,
    }
    kept = {
        "temperature": 0.1,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "response_format": {"type": "json_object"},
        "a_field_of_tomorrow": {"deep": [1, None, "ção"]},
        "seed": 7,
    }

    ask(client, auth, **steering, **kept)

    sent = upstream.calls[0].body
    # The proxy's own word on the cache replaces the caller's.
    assert sent.pop("cache").keys() == {"namespace"}
    assert steering.keys().isdisjoint(sent)
    assert {name: sent[name] for name in kept} == kept
    assert (sent["model"], sent["messages"]) == ("gpt-4", QUESTION)


def test_call_with_headers_for_litellm_loses_them(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    steering = {"x-litellm-call-id": "mine", "x-litellm-tags": "a", "x-litellm-timeout": "1"}

    response = ask(client, {**auth, **steering, "Cookie": "a=1", "X-Request-ID": "mine"})

    sent = lowered(upstream.calls[0])
    assert sent["x-litellm-call-id"] == response.headers["x-request-id"] != "mine"
    assert sent["x-request-id"] == response.headers["x-request-id"]
    assert not {"x-litellm-tags", "x-litellm-timeout", "cookie"} & sent.keys()


def test_call_with_a_null_max_tokens_is_sent_with_the_models_limit(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    ask(client, auth, max_tokens=None)

    assert upstream.calls[0].body["max_tokens"] == 4096


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"other": 1}])
def test_stream_always_asks_litellm_for_its_usage(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM, options: Any
) -> None:
    ask(client, auth, stream=True, stream_options=options)

    assert upstream.calls[0].body["stream_options"] == {**(options or {}), "include_usage": True}


def test_call_that_is_whole_asks_for_no_stream_options(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    ask(client, auth)

    assert "stream_options" not in upstream.calls[0].body


# --- who is asking -------------------------------------------------------------------------------


def user_sent(
    client: FlaskClient,
    upstream: FakeLiteLLM,
    key: str,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> str:
    """Return the pseudonym that a call sends upstream."""
    assert ask(client, {"Authorization": f"Bearer {key}", **(headers or {})}, **fields)
    user = upstream.calls[-1].body["user"]
    assert re.fullmatch("[0-9a-f]{32}", user)
    return str(user)


@pytest.fixture
def pseudonym_of(
    client: FlaskClient, upstream: FakeLiteLLM, make_key: MakeKey
) -> Callable[..., str]:
    """Return the pseudonym of a person, learned from a key of that person's own."""
    return lambda user_id: user_sent(client, upstream, make_key(user_id=user_id))


def test_person_is_sent_as_a_stable_pseudonym(
    client: FlaskClient, upstream: FakeLiteLLM, make_key: MakeKey
) -> None:
    keys = [make_key(user_id=user) for user in ("ana@example.com", "ana@example.com", "bia")]

    first, second, other = (user_sent(client, upstream, key) for key in keys)

    assert first == second != other
    everything = b"".join(call.raw + repr(call.headers).encode() for call in upstream.calls)
    assert b"ana@example.com" not in everything


def test_keys_of_nobody_are_told_apart(
    client: FlaskClient, upstream: FakeLiteLLM, make_key: MakeKey
) -> None:
    users = {user_sent(client, upstream, make_key()) for _ in range(2)}

    assert len(users) == 2


PERSONS: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "plain": ({"X-Solaris-User-Id": "ana"}, {}, "ana"),
    "open_webui": ({"X-OpenWebUI-User-Id": "ana"}, {}, "ana"),
    "base64": (
        {"X-Solaris-User-Id": "b64:" + base64.b64encode("Łukasz".encode()).decode()},
        {},
        "Łukasz",
    ),
    "latin_1": ({"X-Solaris-User-Id": "José"}, {}, "José"),
    "utf_8": ({"X-Solaris-User-Id": "José".encode().decode("latin-1")}, {}, "José"),
    "body": ({}, {"user": "ana"}, "ana"),
    "header_before_body": ({"X-Solaris-User-Id": "ana"}, {"user": "bia"}, "ana"),
    "placeholder_then_body": (
        {"X-Solaris-User-Id": "{{LIBRECHAT_USER_ID}}"},
        {"user": "ana"},
        "ana",
    ),
}


@pytest.mark.parametrize("name", PERSONS)
def test_person_named_by_a_trusted_key_is_whom_the_call_is_for(
    client: FlaskClient,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
    pseudonym_of: Callable[[str], str],
    name: str,
) -> None:
    headers, fields, person = PERSONS[name]

    user = user_sent(client, upstream, make_key(trusted=True), headers, **fields)

    assert user == pseudonym_of(person)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Solaris-User-Id": "{{LIBRECHAT_USER_ID}}"},
        {"X-Solaris-User-Id": "   "},
        {"X-Solaris-User-Id": "b64:%%%"},
    ],
    ids=["nothing", "placeholder", "blank", "bad_base64"],
)
def test_person_that_a_trusted_key_does_not_name_is_the_keys_own(
    client: FlaskClient,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
    pseudonym_of: Callable[[str], str],
    headers: dict[str, str],
) -> None:
    user = user_sent(client, upstream, make_key(trusted=True, user_id="librechat"), headers)

    assert user == pseudonym_of("librechat")


@pytest.mark.parametrize("name", PERSONS)
def test_person_named_by_any_other_key_is_ignored(
    client: FlaskClient,
    upstream: FakeLiteLLM,
    make_key: MakeKey,
    pseudonym_of: Callable[[str], str],
    name: str,
) -> None:
    headers, fields, _ = PERSONS[name]

    user = user_sent(client, upstream, make_key(user_id="bia"), headers, **fields)

    assert user == pseudonym_of("bia")


# --- what comes back -----------------------------------------------------------------------------


def test_whole_answer_comes_back_as_litellm_gave_it(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    body = {"id": "c1", "choices": [{"x": "ção"}], "usage": USAGE, "of_tomorrow": [1, None]}
    upstream.script(status(200, body))

    response = ask(client, auth)

    assert (response.status_code, response.get_json()) == (200, body)
    assert response.content_type == "application/json"


def test_whole_answer_names_its_model_and_exact_cost(client: FlaskClient, auth: Auth) -> None:
    response = ask(client, auth)

    # gpt-4: 30 and 60 micro-USD a token; 21 tokens in, 5 out.
    assert response.headers["x-solaris-model"] == "gpt-4"
    assert response.headers["x-solaris-cost"] == str(21 * 30 + 5 * 60)


def test_whole_answer_of_a_cheap_model_costs_its_fraction_rounded_up_once(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.script(completion(usage={"prompt_tokens": 1, "completion_tokens": 1}))

    response = ask(client, auth, model="gemini-pro")

    # 0.5 and 1.5 micro-USD a token: 2.0 together, where rounding each part would make 3.
    assert response.headers["x-solaris-cost"] == "2"


def test_whole_answer_of_a_group_names_and_prices_the_member_that_answered(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.script(status(500, {}), status(500, {}))

    response = ask(client, auth, model="gpt-4-group")

    assert response.headers["x-solaris-model"] == "gpt-4o"
    assert response.headers["x-solaris-cost"] == str(21 * 5 + 5 * 15)


def test_whole_answer_without_usage_tells_no_cost(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.script(status(200, {"choices": []}))

    response = ask(client, auth)

    assert response.status_code == 200
    assert "x-solaris-cost" not in response.headers


def test_stream_without_usage_asked_for_is_unchanged_but_for_the_usage_chunk(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.script(stream(EVENTS))

    response = ask(client, auth, stream=True)

    assert response.data == b"".join(event for event in EVENTS if event != USAGE_EVENT)


def test_stream_with_usage_asked_for_is_unchanged(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.script(stream(EVENTS))

    response = ask(client, auth, stream=True, stream_options={"include_usage": True})

    assert response.data == b"".join(EVENTS)
    assert response.data.count(b'"usage"') == 1


def test_stream_in_odd_pieces_and_forms_is_unchanged(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    whole = b": hello\r\n\r\nevent: x\ndata: one\ndata: two\n\n" + EVENTS[0] + b"data: [DONE]\n\n"
    upstream.script(stream([whole[start : start + 7] for start in range(0, len(whole), 7)]))

    response = ask(client, auth, stream=True)

    assert response.data == whole


def test_stream_carries_the_headers_of_one(client: FlaskClient, auth: Auth) -> None:
    response = ask(client, auth, stream=True)

    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["x-solaris-model"] == "gpt-4"
    assert "x-solaris-cost" not in response.headers


# --- LiteLLM fails -------------------------------------------------------------------------------

CHAIN = ["gpt-4", "gpt-4-turbo", "gpt-4o", "claude-3-opus"]
# What may be another model's answer; anything else is the caller's own mistake.
GOES_ON = (429, 502, 503, 504)
REFUSALS: list[tuple[int, Any, int, str]] = [
    (302, {}, 502, "upstream_error"),
    (400, INTERNAL, 400, "invalid_request_error"),
    (401, INTERNAL, 502, "upstream_error"),
    (403, INTERNAL, 502, "upstream_error"),
    (404, INTERNAL, 502, "upstream_error"),
    (408, INTERNAL, 504, "upstream_timeout"),
    (413, INTERNAL, 400, "invalid_request_error"),
    (422, INTERNAL, 400, "invalid_request_error"),
    (429, INTERNAL, 429, "rate_limit_exceeded"),
    (500, INTERNAL, 502, "upstream_error"),
    (502, INTERNAL, 502, "upstream_error"),
    (503, INTERNAL, 503, "upstream_unavailable"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("code", "message", "ours", "our_code"), REFUSALS)
def test_refusal_of_litellms_becomes_our_envelope(
    client: FlaskClient,
    auth: Auth,
    upstream: FakeLiteLLM,
    code: int,
    message: str,
    ours: int,
    our_code: str,
    streamed: bool,
) -> None:
    upstream.default = status(code, {"error": {"message": message, "type": "x", "code": "y"}})

    response = ask(client, auth, stream=streamed)

    assert (response.status_code, error_of(response)["code"]) == (ours, our_code)
    assert response.headers["x-request-id"]
    assert not re.search(rb"litellm|10\.0\.0\.7|sk-internal|oi\]", response.data, re.IGNORECASE)
    asked = [call.body["model"] for call in upstream.calls]
    assert asked == (CHAIN if ours in GOES_ON else CHAIN[:1])


def test_reason_that_a_provider_gives_is_passed_on(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    message = (
        "litellm.BadRequestError: OpenAIException - top_p must be below 1. Received Model Group=x"
    )
    upstream.script(status(400, {"error": {"message": message, "param": "top_p"}}))

    error = error_of(ask(client, auth))

    assert "top_p must be below 1." in error["message"]
    assert "litellm" not in error["message"].lower()
    assert error["param"] == "top_p"


def test_budget_of_litellms_that_is_spent_tells_clients_not_to_retry(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.script(status(422, {"error": {"message": "x", "type": "budget_exceeded"}}))

    response = ask(client, auth)

    assert (response.status_code, error_of(response)["code"]) == (402, "insufficient_quota")
    assert response.headers["x-should-retry"] == "false"
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize(
    ("user_agent", "retry_after"),
    [("OpenAI/Python 2.54", "7"), ("langchainjs-openai/1.0.0 (node)", None)],
)
def test_rate_limit_tells_when_to_come_back_but_to_those_who_misread_it(
    client: FlaskClient,
    auth: Auth,
    upstream: FakeLiteLLM,
    user_agent: str,
    retry_after: str | None,
) -> None:
    upstream.default = status(429, {}, {"llm_provider-retry-after": "6.2"})

    response = ask(client, {**auth, "User-Agent": user_agent})

    assert response.status_code == 429
    assert response.headers.get("Retry-After") == retry_after


JUNK: dict[str, Handler] = {
    "html": raw(b"<html>Bad gateway: sk-internal</html>", "text/html"),
    "html_as_json": raw(b"<html>", "application/json"),
    "list": status(200, []),
    "error_in_a_success": status(200, {"error": {"message": "sk-internal"}}),
    "empty": raw(b"", "application/json"),
    "cut": cut(b'{"id": '),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", [name for name in JUNK if name != "cut"])
def test_junk_with_status_200_is_502(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM, name: str, streamed: bool
) -> None:
    upstream.default = JUNK[name]

    response = ask(client, auth, stream=streamed)

    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_error")
    assert b"sk-internal" not in response.data


def test_whole_answer_that_is_cut_is_502(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    upstream.default = JUNK["cut"]

    response = ask(client, auth)

    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_error")


BROKEN_STREAMS: dict[str, Handler] = {
    "cut": cut(EVENTS[0]),
    "cut_within_an_event": cut(EVENTS[0], EVENTS[1][:-9]),
    "silent_end": stream(EVENTS[:1]),
    "silent_end_within_an_event": stream([EVENTS[0], EVENTS[1][:-9]]),
    "error_event": stream(
        [EVENTS[0], b'data: {"error": {"message": "' + INTERNAL.encode() + b'"}}\n\n', EVENTS[-1]]
    ),
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_stream_that_breaks_off_ends_with_our_error_event(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM, name: str
) -> None:
    upstream.default = BROKEN_STREAMS[name]

    response = ask(client, auth, stream=True)

    assert response.status_code == 200
    assert response.data.startswith(EVENTS[0])
    assert last_error(response)["code"] == "upstream_error"
    assert b"[DONE]" not in response.data
    assert not re.search(rb"litellm|sk-internal", response.data, re.IGNORECASE)


EARLY_FAILURES: dict[str, Handler] = {
    "cut": cut(),
    "empty": stream([]),
    "comment_and_end": stream([b": hello\n\n"]),
    "half_an_event": stream([EVENTS[0][:-9]]),
    "error_event": stream([b'data: {"error": {"message": "sk-internal"}}\n\n', EVENTS[-1]]),
}


@pytest.mark.parametrize("name", EARLY_FAILURES)
def test_stream_that_fails_before_its_first_event_is_still_a_502(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM, name: str
) -> None:
    upstream.default = EARLY_FAILURES[name]

    response = ask(client, auth, stream=True)

    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_error")


@pytest.mark.parametrize("name", EARLY_FAILURES)
def test_stream_that_fails_before_its_first_event_is_another_models(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM, name: str
) -> None:
    upstream.script(EARLY_FAILURES[name], stream(EVENTS))

    response = ask(client, auth, stream=True)

    assert response.data == b"".join(EVENTS[:-2]) + EVENTS[-1]
    assert response.headers["x-solaris-model"] == CHAIN[1]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_litellm_that_does_not_listen_is_503(
    client_with: MakeClient, auth: Auth, streamed: bool
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    client = client_with(litellm={"base_url": nowhere, "retry_delay_s": 0.0})

    response = ask(client, auth, stream=streamed)

    assert (response.status_code, error_of(response)["code"]) == (503, "upstream_unavailable")


@pytest.mark.parametrize(
    ("handler", "streamed"),
    [(silence(), False), (silence(), True), (stalled_json(), False)],
    ids=["whole", "stream", "whole_after_headers"],
)
def test_litellm_that_is_too_slow_is_504(
    client_with: MakeClient, auth: Auth, upstream: FakeLiteLLM, handler: Handler, streamed: bool
) -> None:
    client = client_with(litellm={"timeout_s": 0.3})
    upstream.default = handler

    response = ask(client, auth, stream=streamed)

    assert (response.status_code, error_of(response)["code"]) == (504, "upstream_timeout")


def test_stream_that_is_too_slow_ends_with_our_error_event(
    client_with: MakeClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    client = client_with(litellm={"timeout_s": 0.3})
    upstream.script(silence(EVENTS[0]))

    response = ask(client, auth, stream=True)

    assert response.data.startswith(EVENTS[0])
    assert last_error(response)["code"] == "upstream_timeout"
    assert b"[DONE]" not in response.data


# --- the caller's own mistakes -------------------------------------------------------------------

BAD_KEYS: dict[str, dict[str, str]] = {
    "none": {},
    "empty": {"Authorization": "Bearer "},
    "other_scheme": {"Authorization": "Basic YTpi"},
    "malformed": {"Authorization": "Bearer sk-1234"},
    "not_ascii": {"Authorization": "Bearer çãé"},
    "unknown": {"Authorization": f"Bearer sk-solaris-{'A' * 43}d5b1e7f8"},
    "empty_x_api_key": {"x-api-key": ""},
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_call_without_a_good_key_is_401(
    client: FlaskClient, upstream: FakeLiteLLM, name: str
) -> None:
    response = ask(client, BAD_KEYS[name])

    assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")
    assert response.headers["x-request-id"]
    assert upstream.calls == []


def test_call_with_an_expired_key_is_401(client: FlaskClient, make_key: MakeKey) -> None:
    key = make_key(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert ask(client, {"Authorization": f"Bearer {key}"}).status_code == 401


def test_call_with_a_revoked_key_is_401(
    client: FlaskClient, make_key: MakeKey, app: SolarisFlask
) -> None:
    key = make_key(name="gone")
    services_of(app).access.revoke_key("gone")

    assert ask(client, {"Authorization": f"Bearer {key}"}).status_code == 401


def test_call_with_x_api_key_is_answered(client: FlaskClient, make_key: MakeKey) -> None:
    assert ask(client, {"x-api-key": make_key()}).status_code == 200


def test_call_with_the_administrators_key_may_use_no_model(
    client: FlaskClient, upstream: FakeLiteLLM
) -> None:
    response = ask(client, {"Authorization": f"Bearer {ADMIN_KEY}"})

    assert (response.status_code, error_of(response)["code"]) == (403, "model_not_allowed")
    assert upstream.calls == []


def test_call_to_a_model_that_is_not_allowed_is_403(
    client: FlaskClient, make_key: MakeKey, upstream: FakeLiteLLM
) -> None:
    auth = {"Authorization": f"Bearer {make_key(allowed_models=['gpt-4o'])}"}

    response = ask(client, auth)

    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (
        403,
        "model_not_allowed",
        "model",
    )
    assert upstream.calls == []


def test_call_to_an_unknown_model_is_404(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM
) -> None:
    response = ask(client, auth, model="gpt-{9}")

    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (
        404,
        "model_not_found",
        "model",
    )
    assert "{" not in error["message"]
    assert upstream.calls == []


BAD_BODIES: list[tuple[str, str | None]] = [
    ("{", None),
    ("", None),
    ("[]", None),
    ('"text"', None),
    ('{"model": "gpt-4", "messages": [{"role": "user", "content": "\\ud800"}]}', None),
    ('{"messages": [{"role": "user"}]}', "model"),
    ('{"model": 4, "messages": [{"role": "user"}]}', "model"),
    ('{"model": " ", "messages": [{"role": "user"}]}', "model"),
    ('{"model": "gpt-4"}', "messages"),
    ('{"model": "gpt-4", "messages": "abc"}', "messages"),
    ('{"model": "gpt-4", "messages": []}', "messages"),
    ('{"model": "gpt-4", "messages": [{"role": "user"}, "x"]}', "messages[1]"),
    ('{"model": "gpt-4", "messages": [{"content": "x"}]}', "messages[0].role"),
    ('{"model": "gpt-4", "messages": [{"role": "user"}], "stream": "yes"}', "stream"),
    ('{"model": "gpt-4", "messages": [{"role": "user"}], "stream_options": []}', "stream_options"),
    ('{"model": "gpt-4", "messages": [{"role": "user"}], "n": 0}', "n"),
    ('{"model": "gpt-4", "messages": [{"role": "user"}], "max_tokens": "5"}', "max_tokens"),
    ('{"model": "gpt-4", "messages": [{"role": "user"}], "max_tokens": true}', "max_tokens"),
    (
        '{"model": "gpt-4", "messages": [{"role": "user"}], "max_completion_tokens": -1}',
        "max_completion_tokens",
    ),
]


@pytest.mark.parametrize(("body", "field"), BAD_BODIES)
def test_body_that_is_wrong_is_400_and_names_the_field(
    client: FlaskClient, auth: Auth, upstream: FakeLiteLLM, body: str, field: str | None
) -> None:
    response = client.post("/v1/chat/completions", data=body, headers=auth)

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "invalid_request_error")
    assert error["type"] == "invalid_request_error"
    assert error["param"] == field
    assert field is None or field in error["message"]
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("method", "path", "code", "name"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
def test_address_or_method_that_is_unknown_has_the_envelope(
    client: FlaskClient, method: str, path: str, code: int, name: str
) -> None:
    response = client.open(path, method=method)

    assert (response.status_code, error_of(response)["code"]) == (code, name)
    assert response.headers["x-request-id"]
    assert ("Allow" in response.headers) == (code == 405)


@pytest.mark.parametrize(
    ("locale", "no_key", "no_model"),
    [
        ("pt_BR", "Chave de API ausente", "O modelo gpt-9 não existe."),
        ("en", "API key missing", "The model gpt-9 does not exist."),
    ],
)
def test_messages_are_in_the_configured_language(
    client_with: MakeClient, auth: Auth, locale: str, no_key: str, no_model: str
) -> None:
    client = client_with(locale=locale)

    messages = [
        error_of(response)["message"]
        for response in (ask(client, {}), ask(client, auth, model="gpt-9"))
    ]

    assert messages[0].startswith(no_key)
    assert messages[1].startswith(no_model)


@pytest.mark.parametrize(
    ("locale", "words"), [("pt_BR", "O provedor do modelo"), ("en", "The model's provider")]
)
def test_error_event_of_a_stream_is_in_the_configured_language(
    client_with: MakeClient, auth: Auth, upstream: FakeLiteLLM, locale: str, words: str
) -> None:
    upstream.script(cut(EVENTS[0]))

    response = ask(client_with(locale=locale), auth, stream=True)

    assert last_error(response)["message"].startswith(words)


def test_request_ids_of_answers_differ(client: FlaskClient, auth: Auth) -> None:
    responses = [ask(client, auth), ask(client, auth), ask(client, {}), client.get("/livez")]

    assert len({response.headers["x-request-id"] for response in responses}) == 4
