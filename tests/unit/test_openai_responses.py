from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dialects.base import ModelRequest, StreamReader, Usage
from app.dialects.openai_responses import RESPONSES
from app.utils.exceptions import InvalidRequestError, LiteLLMError
from tests.fakes.newer_apis import RESPONSE_USAGE, response_events

PICTURE = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 1000}
TOOL = {"type": "function", "name": "get_weather", "parameters": {}}
BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "oi"}]}],
    "instructions": "seja breve",
    "user": "66f1c0ffee",
    "max_output_tokens": 16,
}
COUNTED = Usage(input_tokens=21, output_tokens=5, cached_input_tokens=4)


def parse(**changes: Any) -> ModelRequest:
    body = {name: value for name, value in (BODY | changes).items() if value is not ...}
    return RESPONSES.parse(orjson.dumps(body))


def reader() -> StreamReader:
    return RESPONSES.stream_reader(parse(stream=True))


def named(content: dict[str, Any]) -> bytes:
    return f"event: {content['type']}\ndata: {json.dumps(content)}\n\n".encode()


# What is asked


def test_body_that_is_well_formed_is_taken_apart() -> None:
    request = parse(stream=True)

    assert (request.model, request.user, request.is_stream) == ("gpt-4o", "66f1c0ffee", True)
    assert request.fields == {
        "input": BODY["input"],
        "instructions": "seja breve",
        "max_output_tokens": 16,
        "stream": True,
        "store": False,
    }


@pytest.mark.parametrize("store", [..., None])
def test_answer_is_stored_at_the_provider_only_where_that_is_asked_for(store: Any) -> None:
    assert parse(store=store).fields["store"] is False


def test_answer_that_is_to_be_stored_is() -> None:
    assert parse(store=True).fields["store"] is True


@pytest.mark.parametrize(
    ("changes", "detail", "param"),
    [
        ({"model": ...}, "required", "model"),
        ({"input": ...}, "required", "input"),
        ({"input": None}, "not_text_or_list", "input"),
        ({"input": ""}, "not_text_or_list", "input"),
        ({"input": []}, "not_text_or_list", "input"),
        ({"input": {"role": "user"}}, "not_text_or_list", "input"),
        ({"max_output_tokens": 0}, "not_count", "max_output_tokens"),
        ({"max_output_tokens": "16"}, "not_count", "max_output_tokens"),
        ({"stream": 1}, "not_boolean", "stream"),
        ({"background": True}, "not_supported", "background"),
        ({"previous_response_id": "resp_1"}, "not_supported", "previous_response_id"),
        ({"conversation": "conv_1"}, "not_supported", "conversation"),
        ({"conversation": {"id": "conv_1"}}, "not_supported", "conversation"),
    ],
)
def test_body_with_a_bad_field_is_refused_naming_it(
    changes: dict[str, Any], detail: str, param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**changes)

    assert (caught.value.detail, caught.value.param) == (detail, param)


@pytest.mark.parametrize("name", ["background", "previous_response_id", "conversation"])
def test_body_with_null_for_what_is_refused_is_accepted(name: str) -> None:
    assert parse(**{name: None}).model == "gpt-4o"


def test_item_that_the_provider_has_stored_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(input=[{"type": "item_reference", "id": "msg_of_somebody_else"}])

    assert caught.value.detail == "not_supported"


def test_body_with_null_for_its_limit_leaves_the_models_own() -> None:
    assert "max_output_tokens" not in parse(max_output_tokens=None).fields


def test_body_with_steering_fields_loses_them() -> None:
    assert parse(api_base="http://evil", metadata={"a": 1}).fields == parse().fields


@pytest.mark.parametrize(
    "given",
    [
        [{"role": "user", "content": [{"type": "input_text", "text": "o que é?"}, PICTURE]}],
        [{"type": "function_call_output", "call_id": "c", "output": [PICTURE]}],
    ],
)
def test_picture_anywhere_needs_eyes_and_is_no_text(given: list[Any]) -> None:
    needs = parse(input=given).needs

    assert needs.images == 1
    assert needs.text_bytes < 1000


def test_text_alone_needs_neither_eyes_nor_tools() -> None:
    needs = parse(input="oi").needs

    assert (needs.mode, needs.images, needs.tools) == ("chat", 0, False)


def test_tools_need_a_model_that_takes_them() -> None:
    assert parse(tools=[TOOL]).needs.tools is True


# What is sent


def test_body_that_is_sent_names_the_member_and_the_pseudonym() -> None:
    assert RESPONSES.body_for(parse(), "gpt-4", "pseudonym", None) == {
        "input": BODY["input"],
        "instructions": "seja breve",
        "max_output_tokens": 16,
        "store": False,
        "model": "gpt-4",
        "user": "pseudonym",
    }


def test_body_that_is_sent_for_nobody_names_nobody() -> None:
    assert "user" not in RESPONSES.body_for(parse(), "gpt-4", None, None)


# What is answered


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (RESPONSE_USAGE, COUNTED),
        ({**RESPONSE_USAGE, "output_tokens_details": {"reasoning_tokens": 5}}, COUNTED),
        ({**RESPONSE_USAGE, "input_tokens_details": None}, Usage(21, 5)),
        ({**RESPONSE_USAGE, "input_tokens_details": {"cached_tokens": 99}}, Usage(21, 5, 21)),
        ({"input_tokens": "21", "output_tokens": -1}, Usage(0, 0)),
        ({}, Usage(0, 0)),
        (None, None),
        ("x", None),
    ],
)
def test_usage_of_an_answer_counts_what_is_a_count(usage: object, expected: Usage | None) -> None:
    assert RESPONSES.usage_of({"usage": usage}) == expected


# Streams


def test_stream_passes_unchanged_and_tells_its_usage_with_its_end() -> None:
    watching = reader()
    events = [named(event) for event in response_events("gpt-4o")]

    passed = [watching.read(event) for event in events[:-1]]
    before = (watching.usage, watching.is_complete)
    passed.append(watching.read(events[-1]))

    assert passed == events
    assert before == (None, False)
    assert (watching.usage, watching.is_complete, watching.has_failed) == (COUNTED, True, False)


def test_stream_that_ran_into_its_limit_is_complete() -> None:
    watching = reader()
    event = named({"type": "response.incomplete", "response": {"usage": RESPONSE_USAGE}})

    assert watching.read(event) == event
    assert (watching.usage, watching.is_complete) == (COUNTED, True)


@pytest.mark.parametrize("response", [None, {}, {"usage": None}, "x"])
def test_stream_whose_end_says_nothing_of_usage_is_complete(response: object) -> None:
    watching = reader()
    watching.read(named({"type": "response.completed", "response": response}))

    assert (watching.usage, watching.is_complete) == (None, True)


@pytest.mark.parametrize(
    "event",
    [
        named({"type": "response.failed", "response": {"error": {"message": "sk-internal"}}}),
        named({"type": "error", "message": "sk-internal", "code": "500"}),
        named({"type": "error", "error": {"message": "sk-internal"}}),
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
        b"data: [DONE]\n\n",
        b"data: not json\n\n",
        named({"type": "response.output_text.delta", "delta": '"error" response.completed'}),
        named({"type": "response.output_text.done", "text": "response.completed", "error": None}),
        named({"type": "response.in_progress", "response": {"error": None, "usage": None}}),
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
    st.dictionaries(st.sampled_from(["type", "response", "error", "usage"]), anything),
    st.sampled_from([None, "response.completed"]),
)
def test_event_of_any_content_is_read_without_a_fault(
    content: dict[str, Any], kind: str | None
) -> None:
    event = b"data: " + json.dumps(content | ({"type": kind} if kind else {})).encode() + b"\n\n"

    assert reader().read(event) in (event, b"")


# Errors


def test_error_in_a_stream_is_one_that_the_sdk_raises() -> None:
    event = RESPONSES.error_event(LiteLLMError(), "Tente de novo.", "req-1")

    head, data, *end = event.split(b"\n")
    content = orjson.loads(data.removeprefix(b"data: "))
    assert (head, end) == (b"event: error", [b"", b""])
    assert content == {
        "type": "error",
        "message": "Tente de novo.",
        "param": None,
        "code": "upstream_error",
        "sequence_number": 0,
        "error": {
            "message": "Tente de novo.",
            "type": "server_error",
            "param": None,
            "code": "upstream_error",
        },
    }
