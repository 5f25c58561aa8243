"""The shape of an API key: `sk-solaris-` + 256 random bits + a checksum.

The checksum lets a typing mistake, or a scanner's junk, be refused without asking the database.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib

PREFIX = "sk-solaris-"
_SECRET_LENGTH = 43  # token_urlsafe(32)
_CHECKSUM_LENGTH = 8
SHOWN_LENGTH = len(PREFIX) + 6


def generate_key() -> str:
    secret = secrets.token_urlsafe(32)
    return f"{PREFIX}{secret}{_checksum(secret)}"


def is_well_formed(key: str) -> bool:
    secret = key[len(PREFIX) : -_CHECKSUM_LENGTH]
    return (
        key.startswith(PREFIX)
        and len(secret) == _SECRET_LENGTH
        and key[-_CHECKSUM_LENGTH:] == _checksum(secret)
    )


def hash_key(key: str) -> bytes:
    """Return what is stored. Plain SHA-256 suffices: 256 random bits cannot be guessed."""
    return hashlib.sha256(key.encode()).digest()


def shown_prefix(key: str) -> str:
    """Return the part that lists and logs may show."""
    return key[:SHOWN_LENGTH]


def _checksum(secret: str) -> str:
    return f"{zlib.crc32(secret.encode()):08x}"
