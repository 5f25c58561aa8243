"""A message's id where it is part of a header."""

from __future__ import annotations

import hashlib
import re

_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def header_safe(identifier: str) -> str:
    """Return an id that no header breaks at; the same for the same one."""
    if _SAFE.fullmatch(identifier):
        return identifier
    return hashlib.sha256(identifier.encode(errors="surrogatepass")).hexdigest()
