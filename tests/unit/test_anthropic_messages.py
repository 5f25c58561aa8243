from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dialects.anthropic_messages import COUNT_TOKENS, MESSAGES
from app.dialects.base import ModelRequest, StreamReader, Usage
from app.dialects.registry import dialect_at
from app.utils.exceptions import (
    AuthenticationError,
    InsufficientQuotaError,
    InvalidRequestError,
    LiteLLMError,
    ModelNotAllowedError,
    ModelNotAvailableError,
    ModelNotFoundError,
    RateLimitedError,
    RequestTooLargeError,
    SolarisError,
    UpstreamTimeoutError,
)
from tests.fakes.newer_apis import MESSAGE_USAGE, message_events

DATA = "A" * 1000
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
DOCUMENT = {"type": "document", "source": {"type": "base64", "data": DATA}}
TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}
BODY: dict[str, Any] = {
    "model": "claude-3-opus",
    "max_tokens": 16,
    "system": "seja breve",
    "messages": [{"role": "user", "content": "oi"}],
    "metadata": {"user_id": "66f1c0ffee"},
}
# All of the input, of which 4 came from a cache and 2 were written to one.
COUNTED = Usage(27, 5, 4, 2)


def parse(**changes: Any) -> ModelRequest:
    body = {name: value for name, value in (BODY | changes).items() if value is not ...}
    return MESSAGES.parse(orjson.dumps(body))


def parse_count(**changes: Any) -> ModelRequest:
    body = {name: value for name, value in (BODY | changes).items() if value is not ...}
    return COUNT_TOKENS.parse(orjson.dumps(body))


def reader() -> StreamReader:
    return MESSAGES.stream_reader(parse(stream=True))


def named(content: dict[str, Any]) -> bytes:
    return f"event: {content['type']}\ndata: {json.dumps(content)}\n\n".encode()


def contents(events: bytes) -> list[dict[str, Any]]:
    """Return the data of each event, which must be named as its data's type."""
    *whole, rest = events.split(b"\n\n")
    assert rest == b""
    read = []
    for event in whole:
        head, data = event.split(b"\n")
        content = orjson.loads(data.removeprefix(b"data: "))
        assert head.decode() == f"event: {content['type']}"
        read.append(content)
    return read


# What is asked


def test_body_that_is_well_formed_is_taken_apart() -> None:
    request = parse(stream=True)

    assert (request.model, request.user, request.is_stream) == (
        "claude-3-opus",
        "66f1c0ffee",
        True,
    )
    assert request.fields == {
        "max_tokens": 16,
        "system": "seja breve",
        "messages": BODY["messages"],
        "stream": True,
    }


@pytest.mark.parametrize("metadata", [..., None, {}, {"user_id": None}, "x", ["user_id"]])
def test_body_that_names_nobody_is_nobodys(metadata: Any) -> None:
    request = parse(metadata=metadata)

    assert request.user is None
    assert "metadata" not in request.fields


@pytest.mark.parametrize(
    ("changes", "detail", "param"),
    [
        ({"model": ...}, "required", "model"),
        ({"model": ""}, "not_text", "model"),
        ({"messages": ...}, "required", "messages"),
        ({"messages": "oi"}, "not_list", "messages"),
        ({"messages": []}, "not_list", "messages"),
        ({"messages": ["oi"]}, "not_object", "messages[0]"),
        ({"messages": [{"content": "oi"}]}, "not_text", "messages[0].role"),
        ({"max_tokens": ...}, "required", "max_tokens"),
        ({"max_tokens": None}, "not_count", "max_tokens"),
        ({"max_tokens": 0}, "not_count", "max_tokens"),
        ({"max_tokens": "16"}, "not_count", "max_tokens"),
        ({"stream": "true"}, "not_boolean", "stream"),
    ],
)
def test_body_with_a_bad_field_is_refused_naming_it(
    changes: dict[str, Any], detail: str, param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**changes)

    assert (caught.value.detail, caught.value.param) == (detail, param)


def test_body_with_steering_fields_loses_them() -> None:
    assert parse(api_base="http://evil", num_retries=9).fields == parse().fields


def test_body_with_fields_of_tomorrow_passes_them_on() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}

    assert parse(thinking=thinking, a_new_one=[1]).fields["thinking"] == thinking


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "o que é?"}, PICTURE],
        [{"type": "tool_result", "tool_use_id": "t", "content": [PICTURE]}],
    ],
)
def test_picture_anywhere_needs_eyes_and_is_no_text(content: list[Any]) -> None:
    needs = parse(messages=[{"role": "user", "content": content}]).needs

    assert needs.images == 1
    assert needs.text_bytes < len(DATA)


def test_document_is_no_text() -> None:
    needs = parse(messages=[{"role": "user", "content": [DOCUMENT]}]).needs

    assert needs.text_bytes < len(DATA)


def test_tools_need_a_model_that_takes_them() -> None:
    assert parse(tools=[TOOL]).needs.tools is True
    assert parse(tools=[]).needs.tools is False


# Counting


def test_count_is_asked_without_a_limit() -> None:
    request = parse_count(max_tokens=...)

    assert (request.model, request.user, request.is_stream) == (
        "claude-3-opus",
        "66f1c0ffee",
        False,
    )


@pytest.mark.parametrize(
    ("changes", "detail", "param"),
    [
        ({"messages": ...}, "required", "messages"),
        ({"model": ...}, "required", "model"),
        ({"stream": True}, "not_supported", "stream"),
    ],
)
def test_count_with_a_bad_field_is_refused_naming_it(
    changes: dict[str, Any], detail: str, param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_count(**changes)

    assert (caught.value.detail, caught.value.param) == (detail, param)


def test_count_costs_nothing() -> None:
    assert COUNT_TOKENS.usage_of({"input_tokens": 14}) == Usage(0, 0)


# What is sent


def test_body_that_is_sent_names_the_member_and_the_pseudonym() -> None:
    assert MESSAGES.body_for(parse(), "claude-3-haiku", "pseudonym", None) == {
        "max_tokens": 16,
        "system": "seja breve",
        "messages": BODY["messages"],
        "model": "claude-3-haiku",
        "metadata": {"user_id": "pseudonym"},
    }


def test_body_that_is_sent_for_nobody_names_nobody() -> None:
    assert "metadata" not in MESSAGES.body_for(parse(), "claude-3-haiku", None, None)


# What is answered


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (MESSAGE_USAGE, COUNTED),
        ({"input_tokens": 21, "output_tokens": 5}, Usage(21, 5)),
        (
            {**MESSAGE_USAGE, "cache_creation": {"ephemeral_1h_input_tokens": 2}},
            COUNTED,
        ),
        ({**MESSAGE_USAGE, "server_tool_use": {"web_search_requests": 1}}, COUNTED),
        ({**MESSAGE_USAGE, "cache_read_input_tokens": None}, Usage(23, 5, 0, 2)),
        ({"input_tokens": "21", "output_tokens": -5}, Usage(0, 0)),
        ({}, Usage(0, 0)),
        (None, None),
        ("x", None),
    ],
)
def test_usage_of_an_answer_counts_what_is_a_count(usage: object, expected: Usage | None) -> None:
    assert MESSAGES.usage_of({"usage": usage}) == expected


# Streams


def test_stream_passes_unchanged_and_its_counts_add_up() -> None:
    watching = reader()
    events = [named(event) for event in message_events("claude-3-opus")]

    passed = [watching.read(event) for event in events[:-1]]
    before = watching.is_complete
    passed.append(watching.read(events[-1]))

    assert passed == events
    assert before is False
    assert (watching.usage, watching.is_complete, watching.has_failed) == (COUNTED, True, False)


def test_stream_that_breaks_off_has_what_was_said_of_its_usage() -> None:
    watching = reader()
    for event in message_events("claude-3-opus")[:3]:
        watching.read(named(event))

    assert watching.usage == Usage(27, 1, 4, 2)
    assert watching.is_complete is False


def test_stream_whose_input_is_told_at_its_end_only_has_it() -> None:
    watching = reader()
    watching.read(named({"type": "message_start", "message": {"usage": {"input_tokens": 0}}}))
    watching.read(named({"type": "message_delta", "delta": {}, "usage": MESSAGE_USAGE}))

    assert watching.usage == COUNTED


@pytest.mark.parametrize(
    "event",
    [
        named({"type": "error", "error": {"type": "overloaded_error", "message": "sk-internal"}}),
        b'data: {"error": {"message": "sk-internal"}}\n\n',
    ],
)
def test_event_of_a_failure_is_noted_and_not_shown(event: bytes) -> None:
    watching = reader()

    assert watching.read(event) == b""
    assert (watching.has_failed, watching.is_complete) == (True, False)


@pytest.mark.parametrize(
    "event",
    [
        b": keep-alive\n\n",
        b"data: not json\n\n",
        named({"type": "ping"}),
        named({"type": "content_block_delta", "delta": {"text": '"type": "error" message_stop'}}),
        named({"type": "content_block_start", "content_block": {"type": "text", "text": ""}}),
        named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": "x"}),
    ],
)
def test_event_of_any_other_kind_passes_untouched(event: bytes) -> None:
    watching = reader()

    assert watching.read(event) == event
    assert (watching.usage, watching.is_complete, watching.has_failed) == (None, False, False)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["type", "message", "error", "usage", "delta"]), anything),
    st.sampled_from([None, "message_start", "message_delta"]),
)
def test_event_of_any_content_is_read_without_a_fault(
    content: dict[str, Any], kind: str | None
) -> None:
    event = b"data: " + json.dumps(content | ({"type": kind} if kind else {})).encode() + b"\n\n"

    assert reader().read(event) in (event, b"")


# A whole message as a stream

WHOLE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-3-opus",
    "content": [
        {"type": "text", "text": "olá"},
        {"type": "tool_use", "id": "t", "name": "get_weather", "input": {"city": "Belém"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": MESSAGE_USAGE,
}


def test_whole_message_becomes_the_stream_that_was_asked_for() -> None:
    events = contents(MESSAGES.events_of(WHOLE) or b"")

    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["content"] == []
    assert events[2]["delta"] == {"type": "text_delta", "text": "olá"}
    assert events[4]["content_block"]["name"] == "get_weather"
    assert events[6]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


def test_whole_message_as_a_stream_is_complete_with_its_usage() -> None:
    watching = reader()
    for event in (MESSAGES.events_of(WHOLE) or b"").split(b"\n\n")[:-1]:
        watching.read(event + b"\n\n")

    assert (watching.usage, watching.is_complete) == (COUNTED, True)


@pytest.mark.parametrize("body", [{}, {"type": "message"}, {**WHOLE, "type": "error"}])
def test_what_is_no_message_becomes_no_stream(body: dict[str, Any]) -> None:
    assert MESSAGES.events_of(body) is None


@pytest.mark.parametrize(
    "changes", [{"usage": "x"}, {"usage": None}, {"content": ["x", {"type": "text"}, None]}]
)
def test_message_with_junk_in_it_becomes_a_stream_or_none(changes: dict[str, Any]) -> None:
    events = MESSAGES.events_of({**WHOLE, **changes})

    assert events is None or contents(events)[-1] == {"type": "message_stop"}


# Errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequestError("not_json"), "invalid_request_error"),
        (AuthenticationError(), "authentication_error"),
        (InsufficientQuotaError(), "billing_error"),
        (ModelNotAllowedError("x"), "permission_error"),
        (ModelNotFoundError("x"), "not_found_error"),
        (RequestTooLargeError(1), "request_too_large"),
        (RateLimitedError(), "rate_limit_error"),
        (LiteLLMError(), "api_error"),
        (ModelNotAvailableError(), "overloaded_error"),
        (UpstreamTimeoutError(), "timeout_error"),
    ],
)
def test_error_has_the_type_that_anthropics_sdks_know(error: SolarisError, kind: str) -> None:
    assert MESSAGES.error_body(error, "Não deu.", "req-1") == {
        "type": "error",
        "error": {"type": kind, "message": "Não deu.", "code": error.code},
        "request_id": "req-1",
    }


def test_error_in_a_stream_is_the_same_as_an_event() -> None:
    (content,) = contents(MESSAGES.error_event(LiteLLMError(), "Não deu.", "req-1"))

    assert content == MESSAGES.error_body(LiteLLMError(), "Não deu.", "req-1")


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"]
)
def test_error_under_messages_is_told_as_anthropic_does(path: str) -> None:
    assert dialect_at(path).error_body(LiteLLMError(), "x", "y")["type"] == "error"


@pytest.mark.parametrize("path", ["/v1/models", "/", "/v1/responses", "/v1/embeddings"])
def test_error_anywhere_else_is_told_as_openai_does(path: str) -> None:
    assert set(dialect_at(path).error_body(LiteLLMError(), "x", "y")) == {"error"}


def test_an_address_that_a_tool_was_called_with_is_no_file() -> None:
    call = {"type": "tool_use", "id": "a", "name": "fetch", "input": {"url": "https://example.com"}}
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": [call]}]}

    assert MESSAGES.parse(orjson.dumps(body)).needs.files == 0
