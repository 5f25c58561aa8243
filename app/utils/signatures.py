"""Signatures of webhook deliveries: HMAC-SHA256 over the raw body, compared in constant time.

Three forms: Standard Webhooks 1.0 (with the delivery's id and time), `X-Signature-256: sha256=…`
as GitHub's, and a plain `Authorization: Bearer` for senders that cannot sign. Nothing here raises,
whatever the headers hold.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

SCHEME = "sha256="
STANDARD_SCHEME = "v1,"
STANDARD_SECRET = "whsec_"  # noqa: S105  # a prefix
BEARER = "bearer "
# Either way: how far a signed timestamp may be from now.
TOLERANCE_S = 300
# A timestamp of more digits is none.
MAX_DIGITS = 12

# Why a delivery is not believed.
UNSIGNED, BAD_SIGNATURE, STALE = "unsigned", "bad_signature", "stale"


class Headers(Protocol):
    def get(self, key: str, /) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """``refusal`` is None for a genuine delivery; ``delivery_id`` is there where it was vouched
    for: by a signature over it, or by the secret itself."""

    refusal: str | None = None
    delivery_id: str | None = None


def sign(body: bytes, secret: str) -> str:
    return SCHEME + hmac.new(_bytes(secret), body, hashlib.sha256).hexdigest()


def sign_standard(delivery_id: str, timestamp: int, body: bytes, secret: str) -> str:
    """Return a `webhook-signature` (Standard Webhooks 1.0)."""
    signed = _signed(delivery_id, str(timestamp), body)
    return STANDARD_SCHEME + _standard_code(signed, standard_keys(secret)[0])


def verify(headers: Headers, body: bytes, secrets: Sequence[str], now: datetime) -> Verdict:
    """Tell whether a delivery comes from who knows one of ``secrets``; nobody knows an empty one.

    The strongest form that is present decides alone: to take a header away must gain nothing.
    """
    secrets = list(filter(None, secrets))
    if (signatures := headers.get("webhook-signature")) is not None:
        return _verify_standard(headers, signatures, body, secrets, now)
    if (signature := headers.get("X-Signature-256")) is not None:
        is_genuine = is_signed_by_any(body, signature, secrets)
        return Verdict(None if is_genuine else BAD_SIGNATURE)
    if (presented := headers.get("Authorization")) is not None:
        if is_one_of(presented, secrets):
            return Verdict(delivery_id=headers.get("webhook-id"))
        return Verdict(BAD_SIGNATURE)
    return Verdict(UNSIGNED)


def is_signed_by_any(body: bytes, signature: str, secrets: Iterable[str]) -> bool:
    """Tell whether ``signature`` is that of ``body`` under one of ``secrets``."""
    return _is_any(signature, [sign(body, secret) for secret in secrets])


def is_one_of(authorization: str, secrets: Iterable[str]) -> bool:
    """Tell whether `Authorization` shows one of ``secrets``, with `Bearer` or, as LiteLLM puts in a
    variable's whole value, without."""
    is_bearer = authorization[: len(BEARER)].lower() == BEARER
    return _is_any(authorization[len(BEARER) :] if is_bearer else authorization, secrets)


def standard_keys(secret: str) -> list[bytes]:
    """Return the keys that senders make of a secret: `whsec_` says that it is base64; of a plain
    one some libraries take the text, and others what it means in base64."""
    decoded = _decoded(secret.removeprefix(STANDARD_SECRET))
    if secret.startswith(STANDARD_SECRET):
        return [decoded or _bytes(secret)]
    return [_bytes(secret), *([decoded] if decoded else [])]


def _verify_standard(
    headers: Headers, signatures: str, body: bytes, secrets: Iterable[str], now: datetime
) -> Verdict:
    delivery_id, timestamp = headers.get("webhook-id"), headers.get("webhook-timestamp")
    if not delivery_id or not timestamp:
        return Verdict(BAD_SIGNATURE)
    signed = _signed(delivery_id, timestamp, body)
    keys = [key for secret in secrets for key in standard_keys(secret)]
    codes = [STANDARD_SCHEME + _standard_code(signed, key) for key in keys]
    # A header that came twice was joined with a comma and a space.
    presented = signatures.replace(", ", " ").split(" ")
    if not any([_is_any(signature, codes) for signature in presented]):  # noqa: C419  # no early end
        return Verdict(BAD_SIGNATURE)
    return Verdict(None if _is_recent(timestamp, now) else STALE, delivery_id)


def _is_recent(timestamp: str, now: datetime) -> bool:
    is_number = timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= MAX_DIGITS
    return is_number and abs(now.timestamp() - int(timestamp)) <= TOLERANCE_S


def _signed(delivery_id: str, timestamp: str, body: bytes) -> bytes:
    # As bytes came over the wire: WSGI dresses them as latin-1.
    head = f"{delivery_id}.{timestamp}.".encode("latin-1", "replace")
    return head + body


def _standard_code(signed: bytes, key: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _bytes(secret: str) -> bytes:
    # An environment's variables may hold what is no UTF-8.
    return secret.encode("utf-8", "surrogatepass")


def _decoded(text: str) -> bytes:
    """Return what base64 means, with its padding or without; nothing where it is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_any(presented: str, expected: Iterable[str]) -> bool:
    """Compare in constant time: bytes, since `compare_digest` refuses text that is not ASCII."""
    shown = presented.encode("utf-8", "surrogatepass")
    # No early end: which one fits, and whether one does, takes the same time.
    matches = [hmac.compare_digest(it.encode("utf-8", "surrogatepass"), shown) for it in expected]
    return any(matches)
