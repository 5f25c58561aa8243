from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.upstream_errors import MAX_REASON_LENGTH, error_for
from app.utils.exceptions import (
    InsufficientQuotaError,
    LiteLLMError,
    ModelNotAvailableError,
    RateLimitedError,
    SolarisError,
    UpstreamMisconfiguredError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)

TAIL = (
    "\nReceived Model Group=gpt-4\nAvailable Model Group Fallbacks=None"
    "\nError doing the fallback: litellm.BadRequestError LiteLLM Retried: 3 times"
)


def body(message: object = "no", kind: str | None = None, param: object = "None") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": "400"}}


def reason_for(message: object) -> object:
    return error_for(400, {}, body(message)).values["reason"]


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        # facts/litellm.md §4, the error matrix of LiteLLM 1.106.2
        (422, "budget_exceeded", InsufficientQuotaError),
        (429, "internal_server_error", RateLimitedError),
        (429, "throttling_error", RateLimitedError),
        (400, "invalid_request_error", UpstreamRejectedError),
        (400, "no_db_connection", UpstreamMisconfiguredError),
        (401, "invalid_request_error", UpstreamMisconfiguredError),
        (401, "auth_error", UpstreamMisconfiguredError),
        (403, "auth_error", UpstreamMisconfiguredError),
        (404, "invalid_request_error", UpstreamMisconfiguredError),
        (408, "invalid_request_error", UpstreamTimeoutError),
        (413, None, UpstreamRejectedError),
        (422, None, UpstreamRejectedError),
        (500, "internal_server_error", LiteLLMError),
        (502, None, LiteLLMError),
        (503, "overloaded_error", ModelNotAvailableError),
        (504, None, UpstreamTimeoutError),
        (302, None, LiteLLMError),
        (204, None, LiteLLMError),
    ],
)
def test_status_of_litellm_becomes_our_error(
    status: int, kind: str | None, expected: type[SolarisError]
) -> None:
    assert type(error_for(status, {}, body(kind=kind))) is expected


@pytest.mark.parametrize("junk", [None, [], "text", {}, {"error": "text"}, {"error": None}])
@pytest.mark.parametrize(("status", "ours"), [(400, 400), (422, 400), (500, 502)])
def test_body_that_is_junk_leaves_the_status_to_decide(junk: Any, status: int, ours: int) -> None:
    assert error_for(status, {}, junk).status == ours


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusal_of_our_own_configuration_is_our_misconfiguration(status: int) -> None:
    assert isinstance(error_for(status, {}, {}), UpstreamMisconfiguredError)


def test_name_that_only_litellm_does_not_know_is_our_misconfiguration() -> None:
    body = {"error": {"message": "Invalid model name passed in model=gpt-4o. Call `/v1/models`"}}

    assert isinstance(error_for(400, {}, body), UpstreamMisconfiguredError)


@pytest.mark.parametrize(
    "message",
    [
        'litellm.BadRequestError: AnthropicException - {"error": {"message": "too hot"}}',
        'litellm.BadRequestError: AnthropicException - b\'{"error": {"message": "too hot"}}\'',
    ],
)
def test_reason_inside_quoted_json_is_found(message: str) -> None:
    assert error_for(400, {}, {"error": {"message": message}}).values["reason"] == "too hot"


# Retry-After


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"llm_provider-retry-after": "7"}, 7.0),
        ({"llm_provider-retry-after": "7", "Retry-After": "60"}, 7.0),
        ({"Retry-After": "60"}, 60.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "86400"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_wait_is_the_providers_where_it_is_sensible(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    assert error_for(status, headers, None).retry_after_s == seconds


# What the caller reads


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "litellm.BadRequestError: OpenAIException - ",
        "litellm.BadRequestError: AnthropicException - ",
        "litellm.ContextWindowExceededError: litellm.BadRequestError: "
        "ContextWindowExceededError: OpenAIException - ",
        "OpenAIException: ",
    ],
)
@pytest.mark.parametrize("tail", ["", TAIL, ". " + TAIL.strip()])
def test_reason_of_the_provider_survives_without_litellms_words(prefix: str, tail: str) -> None:
    sentence = "This model's maximum context length is 8192 tokens, you asked for 9000"

    reason = str(reason_for(prefix + sentence + tail))

    assert reason.rstrip(".") == sentence


def test_reason_with_a_hyphenated_word_survives() -> None:
    assert reason_for("The task-specific risk-free mode is off") is not None


def test_reason_of_several_lines_becomes_one() -> None:
    assert reason_for("temperature\n  is too high") == "temperature is too high"


@pytest.mark.parametrize(
    "message",
    [
        "Incorrect API key provided: sk-abc***xyz",
        "see https://platform.openai.com/account",
        "POST HTTP://10.0.0.7:4000 failed",
        "Authorization: bearer abc",
        "key hash 88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        'AnthropicException - {"type":"error"}',
        "File /usr/lib/python3/site.py line 3",
        "x" * (MAX_REASON_LENGTH + 1),
        "",
        "   ",
        TAIL,
        "litellm.BadRequestError: ",
        None,
        ["a", "list"],
    ],
)
def test_reason_that_may_hold_internals_is_left_out(message: object) -> None:
    assert reason_for(message) is None


@pytest.mark.parametrize(
    "tail",
    [
        "Received Model Group=secret-group",
        "Available Model Group Fallbacks=['secret-group']",
        "No fallback model group found. Fallbacks=['secret-group']",
        "LiteLLM Retried: 3 times",
        "Messages: [my secret-group]",
        "Traceback (most recent call last): secret-group",
    ],
)
def test_reason_never_holds_litellms_own_tail(tail: str) -> None:
    assert reason_for(f"too long. {tail}") == "too long."


@given(st.text(), st.sampled_from(["", "litellm.BadRequestError: ", "OpenAIException - "]))
def test_reason_of_any_text_is_short_and_holds_no_address_or_key(text: str, prefix: str) -> None:
    reason = reason_for(f"{prefix}{text}{TAIL}")

    assert reason is None or 0 < len(str(reason)) <= MAX_REASON_LENGTH
    assert not re.search(r"https?://|[{}]|\bsk-|Received Model Group", str(reason))


# The field


@pytest.mark.parametrize("param", ["max_tokens", "messages[0].content", "response_format.type"])
def test_param_of_the_provider_survives(param: str) -> None:
    assert error_for(400, {}, body(param=param)).param == param


@pytest.mark.parametrize("param", [None, "None", "", "a b", "https://x/y", "x" * 65, ["n"], 7])
def test_param_that_is_no_field_is_left_out(param: object) -> None:
    assert error_for(400, {}, body(param=param)).param is None
