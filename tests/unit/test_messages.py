from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.messages import DETAILS, MESSAGES, detail_for, message_for
from app.utils.exceptions import (
    InvalidRequestError,
    ModelNotAllowedError,
    ModelNotFoundError,
    RequestTooLargeError,
    SolarisError,
    UpstreamRejectedError,
)

LOCALES = ("pt_BR", "en")
VALUES = {
    "model": "gpt-4",
    "limit_mb": 50,
    "detail": "x.",
    "field": "messages[0]",
    "reason": "no",
    "id": "none",
    "allowed": "day, week, month",
    "request_id": "01a2",
}


def tree_of(root: type[SolarisError]) -> Iterator[type[SolarisError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree_of(child)


def places(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def test_messages_of_both_locales_have_the_same_codes() -> None:
    assert MESSAGES["pt_BR"].keys() == MESSAGES["en"].keys()


def test_details_of_both_locales_have_the_same_keys() -> None:
    assert DETAILS["pt_BR"].keys() == DETAILS["en"].keys()


@pytest.mark.parametrize("table", [MESSAGES, DETAILS])
def test_texts_of_both_locales_have_the_same_places(table: dict[str, dict[str, str]]) -> None:
    portuguese, english = table["pt_BR"], table["en"]

    assert [key for key in english if places(english[key]) != places(portuguese[key])] == []


@pytest.mark.parametrize("error", [*tree_of(SolarisError)])
def test_exception_code_has_a_message(error: type[SolarisError]) -> None:
    assert (error.sentence or error.code) in MESSAGES["pt_BR"]


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("code", MESSAGES["en"])
def test_message_filled_is_one_short_line_without_braces(code: str, locale: str) -> None:
    message = message_for(code, locale, **VALUES)

    assert 0 < len(message) < 240
    assert not re.search(r"[{}\n\r]", message)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("detail", DETAILS["en"])
def test_detail_filled_is_one_short_line_without_braces(detail: str, locale: str) -> None:
    message = detail_for(detail, locale, **VALUES)

    assert 0 < len(message) < 200
    assert not re.search(r"[{}\n\r]", message)


@pytest.mark.parametrize(
    "error",
    [ModelNotFoundError("gpt-5"), ModelNotAllowedError("gpt-5"), RequestTooLargeError(2**21)],
)
def test_exception_carries_what_its_message_needs(error: SolarisError) -> None:
    message = message_for(error.code, "en", **error.values)

    assert "gpt-5" in message or "2 MB" in message


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("required", param="model"),
        UpstreamRejectedError("too long"),
        UpstreamRejectedError(None),
    ],
)
def test_exception_carries_what_its_detail_needs(
    error: InvalidRequestError | UpstreamRejectedError,
) -> None:
    assert detail_for(error.detail, "en", **error.values).endswith((".", "too long"))


@given(
    st.text(), st.sampled_from(LOCALES), st.sampled_from(["model_not_found", "model_not_allowed"])
)
def test_message_with_any_value_stays_one_short_line(text: str, locale: str, code: str) -> None:
    message = message_for(code, locale, model=text * 20)

    assert len(message) < 240
    assert len(message.splitlines()) == 1
    assert not re.search(r"[{}]", message)


@given(st.text(), st.sampled_from(LOCALES))
def test_message_with_any_detail_stays_one_short_line(text: str, locale: str) -> None:
    detail = detail_for("refused_upstream", locale, reason=text * 20)

    message = message_for("invalid_request_error", locale, detail=detail)

    assert len(message) < 240
    assert len(message.splitlines()) == 1


def test_message_with_a_template_in_its_value_does_not_fill_it() -> None:
    assert "(model)" in message_for("model_not_found", "en", model="{model}")
