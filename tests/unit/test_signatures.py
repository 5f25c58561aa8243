from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.utils.signatures import (
    BAD_SIGNATURE,
    STALE,
    UNSIGNED,
    Verdict,
    is_signed_by_any,
    sign,
    sign_standard,
    standard_keys,
    verify,
)

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


# --- Standard Webhooks ---------------------------------------------------------------------------

# Made by `standardwebhooks` 1.0.0 of npm, the second of them with a secret without `whsec_`, which
# that library takes for base64 all the same.
ID, SIGNED_AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC)
SIGNED_BODY = b'{"test": 2432232314}'
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PLAIN_SECRET = "0123456789abcdef0123456789abcdef"
PLAIN_BODY = b'{"event_type":"request_start","data":{"request_id":"r-1"}}'
PLAIN_SIGNATURE = "v1,gPdGDzCG3HD5MI5OIlMt88G3hl983QGGZw25XStSGcQ="
GENUINE = Verdict(None, ID)


def standard(signature: str = SIGNATURE, **changes: str) -> dict[str, str]:
    return {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": signature,
        **changes,
    }


def judged(
    headers: dict[str, str], secret: str = STANDARD_SECRET, at: datetime = SIGNED_AT
) -> Verdict:
    return verify(headers, SIGNED_BODY, ("another", secret), at)


def test_standard_signature_is_the_one_that_other_libraries_make() -> None:
    assert judged(standard()) == GENUINE
    assert sign_standard(ID, 1614265330, SIGNED_BODY, STANDARD_SECRET) == SIGNATURE


def test_standard_signature_under_a_secret_without_prefix_is_accepted_in_both_readings() -> None:
    ours = sign_standard(ID, 1614265330, PLAIN_BODY, PLAIN_SECRET)

    for signature in (PLAIN_SIGNATURE, ours):
        headers = standard(signature)
        assert verify(headers, PLAIN_BODY, (PLAIN_SECRET,), SIGNED_AT) == GENUINE
    assert ours != PLAIN_SIGNATURE


@pytest.mark.parametrize(
    "signatures",
    [f"v1,AAAA {SIGNATURE}", f"{SIGNATURE} v1a,AAAA", f"v1,AAAA, {SIGNATURE}", f" {SIGNATURE} "],
)
def test_standard_signature_among_several_is_found(signatures: str) -> None:
    assert judged(standard(signatures)) == GENUINE


@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_standard_signature_within_five_minutes_is_accepted(seconds: int) -> None:
    assert judged(standard(), at=SIGNED_AT + timedelta(seconds=seconds)) == GENUINE


@pytest.mark.parametrize("seconds", [-86_400, -301, 301, 86_400])
def test_standard_signature_beyond_five_minutes_is_stale(seconds: int) -> None:
    assert judged(standard(), at=SIGNED_AT + timedelta(seconds=seconds)).refusal == STALE


@pytest.mark.parametrize("timestamp", ["", "now", "-5", "1e9", "٣", "9" * 5000, "1 ", "+1", "1.5"])
def test_timestamp_that_is_none_is_refused_although_it_is_signed(timestamp: str) -> None:
    key = standard_keys(STANDARD_SECRET)[0]
    message = f"{ID}.{timestamp}.".encode("latin-1", "replace") + SIGNED_BODY
    code = base64.b64encode(hmac.digest(key, message, "sha256")).decode()
    changes = {"webhook-timestamp": timestamp}

    assert judged(standard(f"v1,{code}", **changes)).refusal in {STALE, BAD_SIGNATURE}


@pytest.mark.parametrize(
    "headers",
    [
        standard(""),
        standard("v1"),
        standard("v1,"),
        standard(SIGNATURE.removeprefix("v1,")),
        standard(SIGNATURE.replace("v1,", "v2,")),
        standard(SIGNATURE.lower()),
        standard(",,,"),
        standard("v1,çã€\ud800"),
        standard(**{"webhook-id": "another"}),
        standard(**{"webhook-id": ""}),
        standard(**{"webhook-timestamp": "1614265331"}),
    ],
)
def test_standard_signature_of_anything_else_is_refused(headers: dict[str, str]) -> None:
    assert judged(headers) == Verdict(BAD_SIGNATURE)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp"])
def test_standard_signature_without_its_other_headers_is_refused(missing: str) -> None:
    headers = standard()
    del headers[missing]

    assert judged(headers) == Verdict(BAD_SIGNATURE)


@pytest.mark.parametrize(
    "weaker",
    [
        {"X-Signature-256": sign(SIGNED_BODY, STANDARD_SECRET)},
        {"Authorization": f"Bearer {STANDARD_SECRET}"},
    ],
    ids=["body", "bearer"],
)
def test_standard_signature_decides_where_it_is_present(weaker: dict[str, str]) -> None:
    stale = SIGNED_AT + timedelta(hours=1)

    assert judged(weaker).refusal is None
    assert judged({**standard(), **weaker}, at=stale).refusal == STALE
    assert judged({**standard("v1,AAAA"), **weaker}).refusal == BAD_SIGNATURE


def test_signature_of_the_body_decides_over_a_bearer() -> None:
    bearer = {"Authorization": f"Bearer {STANDARD_SECRET}"}

    assert judged({**bearer, "X-Signature-256": "sha256=00"}).refusal == BAD_SIGNATURE


def test_id_that_is_not_signed_is_not_believed() -> None:
    headers = {"X-Signature-256": sign(SIGNED_BODY, STANDARD_SECRET), "webhook-id": "chosen"}

    assert judged(headers) == Verdict(None, None)


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "{}"])
def test_secret_itself_is_accepted_for_senders_that_cannot_sign(form: str) -> None:
    headers = {"Authorization": form.format(STANDARD_SECRET), "webhook-id": ID}

    assert judged(headers) == GENUINE


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", "Basic x", "Bearer another2", "é\ud800"]
)
def test_any_other_authorization_is_refused(shown: str) -> None:
    assert judged({"Authorization": shown}).refusal == BAD_SIGNATURE


def test_delivery_without_any_of_the_three_is_unsigned() -> None:
    assert judged({"webhook-id": ID, "webhook-timestamp": "1614265330"}).refusal == UNSIGNED


def test_no_secret_verifies_nothing() -> None:
    bearer = {"Authorization": "Bearer "}
    for headers in (standard(), {"X-Signature-256": sign(SIGNED_BODY, "")}, bearer):
        assert verify(headers, SIGNED_BODY, (), SIGNED_AT).refusal is not None


JUNK = st.text(st.characters(), max_size=60)


@given(
    st.dictionaries(
        st.sampled_from(
            "webhook-id webhook-timestamp webhook-signature X-Signature-256 Authorization".split()
        ),
        JUNK,
    ),
    JUNK,
)
def test_junk_in_any_header_is_refused_without_raising(headers: dict[str, str], junk: str) -> None:
    assert verify(headers, SIGNED_BODY, (f"whsec_{junk}", "secret"), SIGNED_AT).refusal is not None
