from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dialects.base import ModelRequest
from app.dialects.openai_chat import CHAT
from app.utils.exceptions import InvalidRequestError

BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "seja breve"},
        {"role": "user", "content": [{"type": "text", "text": "olá"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "t1"}]},
        {"role": "tool", "tool_call_id": "t1", "content": "42"},
    ],
    "user": "66f1c0ffee",
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 16,
    "n": 1,
}
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def parse(**changes: Any) -> ModelRequest:
    body = {name: value for name, value in (BODY | changes).items() if value is not ...}
    return CHAT.parse(orjson.dumps(body))


def test_body_that_is_well_formed_is_taken_apart() -> None:
    chat = parse()

    assert (chat.model, chat.user, chat.is_stream) == ("gpt-4o", "66f1c0ffee", True)
    assert chat.fields == {
        "messages": BODY["messages"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 16,
        "n": 1,
    }


def test_body_with_unknown_fields_passes_them_on() -> None:
    assert parse(a_field_of_tomorrow={"x": [1]}).fields["a_field_of_tomorrow"] == {"x": [1]}


def test_body_with_steering_fields_loses_them() -> None:
    assert "api_base" not in parse(api_base="http://evil", num_retries=9).fields


@pytest.mark.parametrize("name", ["stream", "stream_options", "n"])
def test_body_with_null_in_an_optional_field_is_accepted(name: str) -> None:
    assert parse(**{name: None}).fields[name] is None


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_body_with_null_for_a_limit_leaves_the_models_own(name: str) -> None:
    assert name not in parse(**{name: None}).fields


@pytest.mark.parametrize(
    ("changes", "detail", "param"),
    [
        ({"model": ...}, "required", "model"),
        ({"model": None}, "not_text", "model"),
        ({"model": ["gpt-4"]}, "not_text", "model"),
        ({"model": "  "}, "not_text", "model"),
        ({"messages": ...}, "required", "messages"),
        ({"messages": "abc"}, "not_list", "messages"),
        ({"messages": []}, "not_list", "messages"),
        ({"messages": {"role": "user"}}, "not_list", "messages"),
        ({"messages": [{"role": "user"}, "abc"]}, "not_object", "messages[1]"),
        ({"messages": [{"content": "abc"}]}, "not_text", "messages[0].role"),
        ({"messages": [{"role": ""}]}, "not_text", "messages[0].role"),
        ({"stream": "yes"}, "not_boolean", "stream"),
        ({"stream": 1}, "not_boolean", "stream"),
        ({"stream_options": True}, "not_object", "stream_options"),
        ({"n": 0}, "not_count", "n"),
        ({"n": True}, "not_count", "n"),
        ({"max_tokens": -1}, "not_count", "max_tokens"),
        ({"max_tokens": 1.5}, "not_count", "max_tokens"),
        ({"max_completion_tokens": "16"}, "not_count", "max_completion_tokens"),
    ],
)
def test_body_with_a_bad_field_is_refused_naming_it(
    changes: dict[str, Any], detail: str, param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**changes)

    assert (caught.value.detail, caught.value.param) == (detail, param)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff",
        b'{"model": NaN}',
        b"[" * 100_000,
        b'{"a":"\\ud800"}',
    ],
)
def test_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        CHAT.parse(raw)

    assert caught.value.detail == "not_json"


def test_refusal_does_not_quote_the_body() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        CHAT.parse(b'{"messages": "my secret"')

    assert "secret" not in repr((caught.value, caught.value.values))


def put(body: Any, path: list[Any], value: Any) -> None:
    for step in path[:-1]:
        body = body[step]
    body[path[-1]] = value


places: list[list[Any]] = [
    *[[name] for name in BODY],
    ["messages", 0],
    ["messages", 1, "role"],
    ["messages", 1, "content", 0],
    ["stream_options", "include_usage"],
]


def only_refuses(parse_it: Callable[[], ModelRequest]) -> bool:
    """Tell that a body is either accepted or refused as invalid; anything else propagates."""
    try:
        return isinstance(parse_it(), ModelRequest)
    except InvalidRequestError:
        return True


@given(st.sampled_from(places), anything)
def test_body_with_any_value_in_any_place_raises_nothing_else(place: list[Any], value: Any) -> None:
    body = copy.deepcopy(BODY)
    put(body, place, value)

    assert only_refuses(lambda: CHAT.parse(json.dumps(body).encode()))


@given(st.dictionaries(st.text(max_size=8) | st.sampled_from([*BODY]), anything))
def test_body_with_any_fields_raises_nothing_else(body: dict[str, Any]) -> None:
    assert only_refuses(lambda: CHAT.parse(json.dumps(body).encode()))


@given(st.binary())
def test_body_of_any_bytes_raises_nothing_else(raw: bytes) -> None:
    assert only_refuses(lambda: CHAT.parse(raw))


@given(st.integers(0, 400), st.binary(max_size=3))
def test_body_with_bytes_overwritten_raises_nothing_else(at: int, garbage: bytes) -> None:
    raw = json.dumps(BODY).encode()

    assert only_refuses(lambda: CHAT.parse(raw[:at] + garbage + raw[at + len(garbage) :]))
