from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from app.utils.signatures import is_signed_by_any, sign

BODY = b'{"event_type": "request_end"}'


def test_signature_is_the_one_senders_compute() -> None:
    # printf '…' | openssl dgst -sha256 -hmac key; RFC 2104's well-known example
    signature = sign(b"The quick brown fox jumps over the lazy dog", "key")

    assert signature == "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"


def test_signature_under_the_previous_secret_is_accepted() -> None:
    assert is_signed_by_any(BODY, sign(BODY, "old"), ("new", "old"))


def test_signature_of_another_body_is_refused() -> None:
    assert not is_signed_by_any(BODY + b" ", sign(BODY, "new"), ("new",))


def test_signature_under_another_secret_is_refused() -> None:
    assert not is_signed_by_any(BODY, sign(BODY, "stolen"), ("new", "old"))


def test_signature_without_its_scheme_is_refused() -> None:
    assert not is_signed_by_any(BODY, sign(BODY, "new").removeprefix("sha256="), ("new",))


def test_signature_without_any_secret_is_refused() -> None:
    assert not is_signed_by_any(BODY, sign(BODY, ""), ())


# A lone surrogate, which a lenient server may leave in a header.
@example(b"", "\ud800")
@given(st.binary(), st.text(st.characters()))
def test_signature_of_any_text_is_refused_without_raising(body: bytes, signature: str) -> None:
    assert not is_signed_by_any(body, signature, ("new", "old"))


@given(st.binary(), st.text(min_size=1))
def test_signature_made_is_accepted(body: bytes, secret: str) -> None:
    assert is_signed_by_any(body, sign(body, secret), (secret,))
