from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from app.utils import exceptions
from app.utils.exceptions import (
    InsufficientQuotaError,
    InvalidRequestError,
    LiteLLMUnreachableError,
    ModelNotFoundError,
    RateLimitedError,
    RequestTooLargeError,
    SolarisError,
    UpstreamRejectedError,
)


def tree_of(root: type[SolarisError]) -> Iterator[type[SolarisError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree_of(child)


def drawn_tree() -> dict[str, int]:
    """Return class name → status as the module's own drawing has it."""
    rows = re.findall(r"[├└]── (\w+) +(\d{3})", exceptions.__doc__ or "")
    return {name: int(status) for name, status in rows}


def test_tree_as_drawn_is_the_tree_that_is() -> None:
    real = {
        error.__name__: error.status
        for error in tree_of(SolarisError)
        # What a service adds is a case of one of these.
        if error.__module__ == exceptions.__name__
    }
    del real["SolarisError"]

    assert drawn_tree() == real


@pytest.mark.parametrize(
    "error", [it for it in tree_of(SolarisError) if not issubclass(it, exceptions.ADMINISTRATION)]
)
def test_status_of_an_error_is_never_one_that_clients_misread(error: type[SolarisError]) -> None:
    # LangChain-JS retries a 422 seven times, every client a 408 or 409.
    assert error.status not in (408, 409, 422)


@pytest.mark.parametrize("error", [*tree_of(SolarisError)])
def test_type_of_an_error_follows_its_status(error: type[SolarisError]) -> None:
    assert (error.type == "server_error") is (error.status >= 500)


def test_error_quota_exhausted_is_not_worth_a_retry() -> None:
    error = InsufficientQuotaError()

    assert (error.status, error.code, error.should_retry) == (402, "insufficient_quota", False)


def test_error_rate_limited_carries_the_wait() -> None:
    assert RateLimitedError(retry_after_s=7).retry_after_s == 7


def test_error_unknown_model_names_the_field_and_the_model() -> None:
    error = ModelNotFoundError("gpt-5")

    assert (error.param, error.values) == ("model", {"model": "gpt-5"})


def test_error_invalid_request_names_the_field() -> None:
    error = InvalidRequestError("required", param="model")

    assert (error.param, error.detail, error.values) == ("model", "required", {"field": "model"})


def test_error_too_large_carries_the_limit_in_megabytes() -> None:
    assert RequestTooLargeError(50 * 1024 * 1024).values["limit_mb"] == 50


@pytest.mark.parametrize(
    ("reason", "detail"), [("too long", "refused_upstream"), (None, "refused_upstream_silent")]
)
def test_error_refused_upstream_says_why_where_it_may(reason: str | None, detail: str) -> None:
    assert UpstreamRejectedError(reason).detail == detail


def test_error_as_text_is_its_code_only() -> None:
    assert str(ModelNotFoundError("a-secret-model")) == "model_not_found"


def test_cause_of_an_error_says_more_than_its_code_where_there_is_more() -> None:
    assert LiteLLMUnreachableError().cause == "litellm_unreachable"
    assert RateLimitedError().cause == "rate_limit_exceeded"
