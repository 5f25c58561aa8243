"""Signatures of webhook deliveries: HMAC-SHA256 over the raw body, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

SCHEME = "sha256="


def sign(body: bytes, secret: str) -> str:
    return SCHEME + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_signed_by_any(body: bytes, signature: str, secrets: Iterable[str]) -> bool:
    """Tell whether ``signature`` is that of ``body`` under one of ``secrets``.

    Never raises, whatever the header holds: bytes are compared, since `compare_digest` refuses
    text that is not ASCII.
    """
    presented = signature.encode("utf-8", "surrogatepass")
    # No early end: which secret fits, and whether one does, takes the same time.
    matches = [hmac.compare_digest(sign(body, secret).encode(), presented) for secret in secrets]
    return any(matches)
