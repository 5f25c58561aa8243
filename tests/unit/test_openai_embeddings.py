from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.dialects.base import ModelRequest, Usage
from app.dialects.openai_embeddings import EMBEDDINGS
from app.utils.exceptions import InvalidRequestError, ModelNotFoundError

BODY: dict[str, Any] = {
    "model": "text-embedding-3-small",
    "input": ["um texto", "outro"],
    "user": "66f1c0ffee",
    "encoding_format": "base64",
    "dimensions": 256,
}


def parse(**changes: Any) -> ModelRequest:
    body = {name: value for name, value in (BODY | changes).items() if value is not ...}
    return EMBEDDINGS.parse(orjson.dumps(body))


def test_body_that_is_well_formed_is_taken_apart() -> None:
    request = parse()

    assert (request.model, request.user) == ("text-embedding-3-small", "66f1c0ffee")
    assert request.is_stream is False
    assert request.fields == {
        "input": ["um texto", "outro"],
        "encoding_format": "base64",
        "dimensions": 256,
    }


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_input_in_any_form_passes_as_it_is(given: object) -> None:
    assert parse(input=given).fields["input"] == given


def test_body_needs_a_model_for_embeddings() -> None:
    assert parse().needs.mode == "embedding"


@pytest.mark.parametrize(
    ("changes", "detail", "param"),
    [
        ({"model": ...}, "required", "model"),
        ({"input": ...}, "required", "input"),
        ({"input": None}, "not_text_or_list", "input"),
        ({"input": ""}, "not_text_or_list", "input"),
        ({"input": []}, "not_text_or_list", "input"),
        ({"input": {"text": "a"}}, "not_text_or_list", "input"),
        ({"dimensions": 0}, "not_count", "dimensions"),
        ({"dimensions": "256"}, "not_count", "dimensions"),
        ({"stream": "yes"}, "not_boolean", "stream"),
        ({"stream": True}, "not_supported", "stream"),
    ],
)
def test_body_with_a_bad_field_is_refused_naming_it(
    changes: dict[str, Any], detail: str, param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**changes)

    assert (caught.value.detail, caught.value.param) == (detail, param)


@pytest.mark.parametrize("stream", [False, None])
def test_body_that_asks_for_no_stream_is_accepted(stream: bool | None) -> None:
    assert parse(stream=stream).is_stream is False


def test_body_with_steering_fields_loses_them() -> None:
    assert parse(api_base="http://evil", metadata={"a": 1}).fields == parse().fields


def test_body_that_is_sent_names_the_model_and_the_pseudonym() -> None:
    assert EMBEDDINGS.body_for(parse(), "other", "pseudonym", None) == {
        "input": ["um texto", "outro"],
        "encoding_format": "base64",
        "dimensions": 256,
        "model": "other",
        "user": "pseudonym",
    }


def test_body_that_is_sent_for_nobody_names_nobody() -> None:
    assert "user" not in EMBEDDINGS.body_for(parse(), "other", None, None)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": "3"}, Usage(0, 0)),
        (None, None),
        (7, None),
    ],
)
def test_usage_of_an_answer_is_its_input_alone(usage: object, expected: Usage | None) -> None:
    assert EMBEDDINGS.usage_of({"usage": usage}) == expected


def test_stream_is_never_read() -> None:
    with pytest.raises(NotImplementedError):
        EMBEDDINGS.stream_reader(parse())


def test_error_is_told_as_openai_does() -> None:
    error = EMBEDDINGS.error_body(ModelNotFoundError("x"), "Não há.", "req-1")["error"]

    assert error == {
        "message": "Não há.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
