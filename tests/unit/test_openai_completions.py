from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.dialects.base import ModelRequest, StreamReader, Usage
from app.dialects.openai_chat import COMPLETIONS
from app.utils.exceptions import InvalidRequestError, RateLimitedError
from tests.fakes.litellm import sse

BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "prompt": "Era uma vez",
    "user": "66f1c0ffee",
    "max_tokens": 16,
    "n": 1,
    "best_of": 2,
}
TEXT = sse({"choices": [{"index": 0, "text": "olá", "finish_reason": None}]})
USAGE = {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26}
DONE = b"data: [DONE]\n\n"


def parse(**changes: Any) -> ModelRequest:
    body = {name: value for name, value in (BODY | changes).items() if value is not ...}
    return COMPLETIONS.parse(orjson.dumps(body))


def reader(**changes: Any) -> StreamReader:
    return COMPLETIONS.stream_reader(parse(stream=True, **changes))


# What is asked


def test_body_that_is_well_formed_is_taken_apart() -> None:
    request = parse()

    assert (request.model, request.user, request.is_stream) == ("gpt-4o", "66f1c0ffee", False)
    assert request.fields == {"prompt": "Era uma vez", "max_tokens": 16, "n": 1, "best_of": 2}


@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_prompt_in_any_form_passes_as_it_is(prompt: object) -> None:
    assert parse(prompt=prompt).fields["prompt"] == prompt


def test_body_needs_a_model_that_chats_and_no_more() -> None:
    needs = parse().needs

    assert (needs.mode, needs.images, needs.tools) == ("chat", False, False)
    assert needs.text_bytes == len(orjson.dumps(BODY))


@pytest.mark.parametrize(
    ("changes", "detail", "param"),
    [
        ({"model": ...}, "required", "model"),
        ({"model": " "}, "not_text", "model"),
        ({"prompt": ...}, "required", "prompt"),
        ({"prompt": None}, "not_text_or_list", "prompt"),
        ({"prompt": ""}, "not_text_or_list", "prompt"),
        ({"prompt": []}, "not_text_or_list", "prompt"),
        ({"prompt": {"text": "a"}}, "not_text_or_list", "prompt"),
        ({"prompt": 7}, "not_text_or_list", "prompt"),
        ({"stream": "true"}, "not_boolean", "stream"),
        ({"stream_options": []}, "not_object", "stream_options"),
        ({"n": 0}, "not_count", "n"),
        ({"best_of": -1}, "not_count", "best_of"),
        ({"max_tokens": True}, "not_count", "max_tokens"),
    ],
)
def test_body_with_a_bad_field_is_refused_naming_it(
    changes: dict[str, Any], detail: str, param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**changes)

    assert (caught.value.detail, caught.value.param) == (detail, param)


def test_body_with_steering_fields_loses_them() -> None:
    assert parse(api_base="http://evil", fallbacks=["x"], metadata={"a": 1}).fields == (
        parse().fields
    )


def test_body_with_null_for_a_limit_leaves_the_models_own() -> None:
    assert "max_tokens" not in parse(max_tokens=None).fields


# What is sent


def test_body_that_is_sent_names_the_member_and_the_pseudonym() -> None:
    assert COMPLETIONS.body_for(parse(), "gpt-4", "pseudonym", None) == {
        "prompt": "Era uma vez",
        "max_tokens": 16,
        "n": 1,
        "best_of": 2,
        "model": "gpt-4",
        "user": "pseudonym",
    }


def test_body_that_is_sent_for_nobody_names_nobody() -> None:
    assert "user" not in COMPLETIONS.body_for(parse(), "gpt-4", None, None)


def test_body_that_is_sent_for_a_stream_asks_for_usage_and_keeps_other_options() -> None:
    request = parse(stream=True, stream_options={"include_obfuscation": False})

    assert COMPLETIONS.body_for(request, "gpt-4", None, None)["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    assert request.fields["stream_options"] == {"include_obfuscation": False}


# What is answered


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, Usage(21, 5)),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 8}}, Usage(21, 5, 8)),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 99}}, Usage(21, 5, 21)),
        ({**USAGE, "cache_creation_input_tokens": 6}, Usage(21, 5, 0, 6)),
        (
            {
                **USAGE,
                "prompt_tokens_details": {"cached_tokens": 20},
                "cache_creation_input_tokens": 6,
            },
            Usage(21, 5, 20, 1),
        ),
        ({**USAGE, "completion_tokens_details": {"reasoning_tokens": 4}}, Usage(21, 5)),
        ({**USAGE, "prompt_tokens_details": None}, Usage(21, 5)),
        ({"prompt_tokens": "21", "completion_tokens": -5}, Usage(0, 0)),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, Usage(0, 0)),
        ({}, Usage(0, 0)),
        (None, None),
        ([], None),
        ("21", None),
    ],
)
def test_usage_of_an_answer_counts_what_is_a_count(usage: object, expected: Usage | None) -> None:
    assert COMPLETIONS.usage_of({"usage": usage}) == expected


def test_usage_of_an_answer_without_any_is_unknown() -> None:
    assert COMPLETIONS.usage_of({"choices": []}) is None


# Streams


def test_stream_is_complete_with_its_last_event() -> None:
    watching = reader()
    watching.read(TEXT)
    before = watching.is_complete
    watching.read(DONE)

    assert (before, watching.is_complete, watching.has_failed) == (False, True, False)


def test_usage_that_was_asked_for_passes() -> None:
    watching = reader(stream_options={"include_usage": True})
    event = sse({"choices": [], "usage": USAGE})

    assert watching.read(event) == event
    assert watching.usage == Usage(21, 5)


@pytest.mark.parametrize("choices", [[], [{"index": 0, "text": ""}]])
def test_usage_that_was_not_asked_for_is_noted_and_taken_out(choices: list[object]) -> None:
    watching = reader()

    assert watching.read(sse({"choices": choices, "usage": USAGE})) == b""
    assert watching.usage == Usage(21, 5)


def test_usage_in_an_event_with_text_passes_with_it() -> None:
    watching = reader()
    event = sse({"choices": [{"index": 0, "text": "fim"}], "usage": USAGE})

    assert watching.read(event) == event
    assert watching.usage == Usage(21, 5)


def test_error_event_is_a_failure_and_is_not_shown() -> None:
    watching = reader()

    assert watching.read(sse({"error": {"message": "sk-internal"}})) == b""
    assert (watching.has_failed, watching.is_complete) == (True, False)


@pytest.mark.parametrize(
    "event",
    [
        TEXT,
        b": keep-alive\n\n",
        b"data: not json\n\n",
        sse({"choices": [{"text": 'diz "error" e "usage"'}]}),
        sse({"choices": [{"text": "[DONE]"}]}),
        sse({"choices": [{"text": "x"}], "usage": None}),
        sse({"choices": 7, "usage": "x"}),
        sse({"choices": "x", "error": None}),
    ],
)
def test_event_of_any_other_kind_passes_untouched(event: bytes) -> None:
    watching = reader()

    assert watching.read(event) == event
    assert (watching.usage, watching.is_complete, watching.has_failed) == (None, False, False)


# Errors


def test_error_is_told_as_openai_does() -> None:
    error = RateLimitedError(param="model")

    assert COMPLETIONS.error_body(error, "Devagar.", "req-1") == {
        "error": {
            "message": "Devagar.",
            "type": "rate_limit_error",
            "param": "model",
            "code": "rate_limit_exceeded",
        }
    }


def test_error_in_a_stream_is_the_same_as_an_event() -> None:
    error = RateLimitedError()

    event = COMPLETIONS.error_event(error, "Devagar.", "req-1")

    assert event.startswith(b"data: ")
    assert event.endswith(b"}\n\n")
    assert orjson.loads(event[6:]) == COMPLETIONS.error_body(error, "Devagar.", "req-1")
