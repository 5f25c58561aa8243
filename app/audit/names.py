"""Names that recur in rows are there once; what is a person's can be forgotten.

A row has a name's number. The trail has a commitment to the name (a salted hash), so that a name
that was exchanged shows, and one that was erased leaves nothing to guess at.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.audit.chain import AuditKey

SECRET_BYTES = 16
NONCE_BYTES = 12
# Kinds of names; what is private in a row is encrypted for its user, else for its key.
EVENT, USER, TEAM, KEY, MODEL = "event", "user", "team", "key", "model"
# The user of what nobody known did.
NOBODY = ""


@dataclass(frozen=True, slots=True)
class Name:
    """One entry of the dictionary; ``value`` and ``secret`` are None once it is erased."""

    id: int
    kind: str
    value: str | None
    secret: bytes | None
    commitment: bytes

    @classmethod
    def make(cls, number: int, kind: str, value: str) -> Name:
        secret = secrets.token_bytes(SECRET_BYTES)
        return cls(number, kind, value, secret, commitment(secret, kind, value))

    @property
    def is_as_committed(self) -> bool:
        """Tell whether it still says what it said, where it was not erased."""
        if self.value is None or self.secret is None:
            return self.value is None and self.secret is None
        expected = commitment(self.secret, self.kind, self.value)
        return hmac.compare_digest(expected, self.commitment)

    def code(self, key: AuditKey) -> bytes:
        """Return what binds the number to the name, even to one that is erased."""
        return key.row_code(f"name\t{self.id}\t{self.kind}\t{self.commitment.hex()}".encode())

    def encrypt(self, event_id: bytes, plain: bytes) -> bytes:
        """The same event gives the same bytes, so that it may be sent again."""
        return self._cipher().encrypt(event_id[-NONCE_BYTES:], plain, event_id)

    def decrypt(self, event_id: bytes, encrypted: bytes) -> bytes:
        """Raises: ErasedError; cryptography's InvalidTag, where the bytes were changed."""
        return self._cipher().decrypt(event_id[-NONCE_BYTES:], encrypted, event_id)

    def _cipher(self) -> AESGCM:
        if self.secret is None:
            raise ErasedError(self.id)
        return AESGCM(self.secret)


class ErasedError(LookupError):
    """What was asked for belonged to somebody who was erased."""


def pseudonym(number: int) -> str:
    """Return what stands for a name that was erased."""
    return f"erased-{number}"


def commitment(secret: bytes, kind: str, value: str) -> bytes:
    return hashlib.sha256(secret + kind.encode() + b"\0" + value.encode()).digest()
