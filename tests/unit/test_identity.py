from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.services.identity import (
    MAX_VALUE_LENGTH,
    OPENWEBUI_JWT_HEADER,
    Person,
    decode_header,
    person_from_headers,
)
from app.utils.exceptions import IdentityRejectedError

SECRET = "open-webui-jwt-secret-of-32-bytes-or-more"
CLAIMS = {"iss": "open-webui", "sub": "u-7", "email": "ana@corp.br", "name": "Ana", "role": "user"}
PLACEHOLDERS = [
    "{{LIBRECHAT_USER_ID}}",
    "{{LIBRECHAT_USER_EMAIL}}",
    "{{LIBRECHAT_BODY_CONVERSATIONID}}",
    "{{LIBRECHAT_OPENID_TOKEN}}",
    " {{LIBRECHAT_USER_NAME}} ",
    "{{USER_ID}}",
]


def b64(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return "b64:" + base64.b64encode(raw).decode()


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    payload = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(payload, secret, algorithm=algorithm)


# One value


@pytest.mark.parametrize("value", [None, "", "   ", "b64:", "b64:    ", "\x00", "\x00 \x07"])
def test_header_that_says_nothing_is_none(value: str | None) -> None:
    assert decode_header(value) is None


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_header_with_an_unfilled_placeholder_is_none(value: str) -> None:
    assert decode_header(value) is None


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_header_with_an_encoded_placeholder_is_none(value: str) -> None:
    assert decode_header(b64(value)) is None


def test_header_with_a_placeholder_behind_a_control_character_is_none() -> None:
    assert decode_header("\x00 {{LIBRECHAT_USER_ID}}") is None


def test_header_of_latin_1_keeps_its_letters() -> None:
    assert decode_header(b"Jos\xe9 da Concei\xe7\xe3o".decode("latin-1")) == "José da Conceição"


def test_header_of_raw_utf_8_is_read_as_such() -> None:
    assert decode_header("João".encode().decode("latin-1")) == "João"


def test_header_of_base64_is_decoded() -> None:
    assert decode_header(b64("Łukasz 李")) == "Łukasz 李"


@pytest.mark.parametrize("value", ["*", " * ", b64("*")])
def test_header_with_the_budgets_word_for_everybody_names_nobody(value: str) -> None:
    assert decode_header(value) is None


@pytest.mark.parametrize("value", ["b64:***", "b64:é", "b64:YQ", b64(b"\xff\xfe")])
def test_header_of_broken_base64_is_none(value: str) -> None:
    assert decode_header(value) is None


def test_header_loses_control_characters() -> None:
    assert decode_header("Ana\r\nX-Admin: 1\x1b[0m") == "AnaX-Admin: 1[0m"


def test_header_too_long_is_cut() -> None:
    assert decode_header("a" * 1000) == "a" * MAX_VALUE_LENGTH


@example("\ud800")
@given(st.text(st.characters()) | st.text().map(b64) | st.text().map(lambda text: "b64:" + text))
def test_header_of_any_text_gives_a_clean_value_or_none(value: str) -> None:
    decoded = decode_header(value)

    assert decoded is None or (
        decoded.isprintable() and decoded == decoded.strip() and 0 < len(decoded) <= 256
    )


@given(st.binary())
def test_header_of_any_bytes_never_raises(value: bytes) -> None:
    decoded = decode_header(value.decode("latin-1"))

    assert decoded is None or decoded


# The person


def test_person_without_headers_is_nobody() -> None:
    assert person_from_headers({}, None) == Person()


def test_person_of_librechat_has_every_fact() -> None:
    headers = {
        "X-Solaris-User-Id": "66f1",
        "X-Solaris-User-Email": "ana@corp.br",
        "X-Solaris-User-Name": b64("Ana Łuk"),
        "X-Solaris-User-Role": "USER",
        "X-Solaris-Team": "vendas",
        "X-Solaris-Conversation-Id": "c1",
        "X-Solaris-Message-Id": "m1",
    }

    person = person_from_headers(headers, None)

    assert person == Person("66f1", "ana@corp.br", "Ana Łuk", "USER", "vendas", "c1", "m1")


def test_person_of_open_webui_has_its_name_percent_decoded() -> None:
    headers = {"X-OpenWebUI-User-Id": "w1", "X-OpenWebUI-User-Name": "Jo%C3%A3o%20Silva"}

    assert person_from_headers(headers, None) == Person(user_id="w1", name="João Silva")


def test_person_of_open_webui_has_no_control_characters_in_the_name() -> None:
    headers = {"X-OpenWebUI-User-Name": "Ana%0D%0Aroot%00"}

    assert person_from_headers(headers, None).name == "Anaroot"


def test_person_of_solaris_headers_keeps_percent_signs() -> None:
    assert person_from_headers({"X-Solaris-User-Name": "100%25"}, None).name == "100%25"


def test_person_named_twice_is_the_one_of_solaris_headers() -> None:
    headers = {"X-OpenWebUI-User-Id": "second", "X-Solaris-User-Id": "first"}

    assert person_from_headers(headers, None).user_id == "first"


def test_person_behind_an_unfilled_placeholder_is_the_next_header() -> None:
    headers = {"X-Solaris-User-Id": "{{LIBRECHAT_USER_ID}}", "X-OpenWebUI-User-Id": "w1"}

    assert person_from_headers(headers, None).user_id == "w1"


# The signed person


def test_signed_person_has_the_claims() -> None:
    person = person_from_headers({OPENWEBUI_JWT_HEADER: token()}, SECRET)

    assert person == Person(user_id="u-7", email="ana@corp.br", name="Ana", role="user")


def test_signed_person_wins_over_what_is_merely_said() -> None:
    headers = {
        OPENWEBUI_JWT_HEADER: token(),
        "X-Solaris-User-Id": "boss",
        "X-Solaris-Team": "vendas",
    }

    person = person_from_headers(headers, SECRET)

    assert (person.user_id, person.team) == ("u-7", "vendas")


def test_signed_person_without_a_secret_of_ours_is_ignored() -> None:
    assert person_from_headers({OPENWEBUI_JWT_HEADER: token()}, None) == Person()


def expired() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


def dated(claim: str, seconds: int) -> dict[str, Any]:
    return {claim: datetime.now(UTC) + timedelta(seconds=seconds)}


@pytest.mark.parametrize(("claim", "seconds"), [("iat", 30), ("nbf", 30), ("exp", -30)])
def test_signed_person_of_a_clock_that_is_a_little_off_is_believed(
    claim: str, seconds: int
) -> None:
    presented = token(**dated(claim, seconds))

    assert person_from_headers({OPENWEBUI_JWT_HEADER: presented}, SECRET).user_id == "u-7"


@pytest.mark.parametrize(("claim", "seconds"), [("iat", 120), ("nbf", 120), ("exp", -120)])
def test_signed_person_of_a_clock_that_is_far_off_is_rejected(claim: str, seconds: int) -> None:
    presented = token(**dated(claim, seconds))

    with pytest.raises(IdentityRejectedError):
        person_from_headers({OPENWEBUI_JWT_HEADER: presented}, SECRET)


@pytest.mark.parametrize(
    "presented",
    [
        token("another-secret-of-32-bytes-or-even-more"),
        token(algorithm="HS512", secret=SECRET * 2),
        jwt.encode(CLAIMS, "", algorithm="none"),
        token(iss="somebody-else"),
        token(iss=None),
        token(sub=None),
        token(exp=expired()),
        token(sub=" "),
        token() + "x",
        "not-a-token",
        "é.é.é",
    ],
)
def test_signed_person_that_does_not_verify_is_rejected(presented: str) -> None:
    with pytest.raises(IdentityRejectedError):
        person_from_headers({OPENWEBUI_JWT_HEADER: presented}, SECRET)


def test_unsigned_open_webui_headers_are_ignored_where_it_signs() -> None:
    headers = {"X-OpenWebUI-User-Id": "u-1", "X-OpenWebUI-User-Email": "ana@corp.br"}

    assert person_from_headers(headers, SECRET) == Person()


@given(st.text(min_size=1))
def test_signed_person_of_any_text_is_rejected(presented: str) -> None:
    with pytest.raises(IdentityRejectedError):
        person_from_headers({OPENWEBUI_JWT_HEADER: presented}, SECRET)
