"""What makes a change of the trail show: a code for each row, and signed checkpoints in a chain.

Rows get a number, without gaps, and an HMAC over the number and all that they say, so that an
edited, exchanged or inserted row is found by itself and a removed one by its number. A checkpoint
for each batch has the root of its Merkle tree (RFC 6962 §2.1), the hash of the checkpoint before
it, and an HMAC of its own. The key is not in the database.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import orjson

ROW_CODE_BYTES = 16
KEY_ID_BYTES = 4


class UnknownAuditKeyError(LookupError):
    """A checkpoint was signed with a key that nobody gave us."""


@dataclass(frozen=True, slots=True)
class AuditKey:
    """One secret: for rows, checkpoints and contents, each with a key of its own from it."""

    id: str
    rows: bytes
    checkpoints: bytes
    contents: bytes

    @classmethod
    def of(cls, secret: str) -> AuditKey:
        def derived(purpose: bytes) -> bytes:
            return hmac.digest(secret.encode(), b"solaris audit " + purpose, "sha256")

        key_id = derived(b"id")[:KEY_ID_BYTES].hex()
        return cls(key_id, derived(b"rows"), derived(b"checkpoints"), derived(b"contents"))

    def row_code(self, row: bytes) -> bytes:
        return hmac.digest(self.rows, row, "sha256")[:ROW_CODE_BYTES]


class AuditKeys:
    """The key that signs, and those that signed before it."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """``secrets``: the present one first."""
        keys = [AuditKey.of(secret) for secret in secrets]
        self.current = keys[0]
        self.every = tuple(keys)
        self._known = {key.id: key for key in keys}

    def named(self, key_id: str) -> AuditKey:
        """Raises: UnknownAuditKeyError."""
        try:
            return self._known[key_id]
        except KeyError:
            raise UnknownAuditKeyError(key_id) from None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One batch: its rows' numbers, their month, their root; and the checkpoint before."""

    id: int
    first_seq: int
    last_seq: int
    # The first day of the rows' month in UTC, as ISO has it: retention drops whole months.
    month: str
    merkle_root: bytes
    previous_hash: bytes
    key_id: str
    # When it was signed, and how many names there were, so that none of them can be taken away.
    created_at: datetime
    last_name: int
    code: bytes = b""

    @property
    def rows(self) -> int:
        return self.last_seq - self.first_seq + 1

    @property
    def hash(self) -> bytes:
        """Return what the next checkpoint refers to."""
        return hashlib.sha256(self.said() + self.code).digest()

    def signed(self, key: AuditKey) -> Checkpoint:
        unsigned = replace(self, key_id=key.id)
        return replace(unsigned, code=hmac.digest(key.checkpoints, unsigned.said(), "sha256"))

    def is_genuine(self, keys: AuditKeys) -> bool:
        """Raises: UnknownAuditKeyError."""
        expected = hmac.digest(keys.named(self.key_id).checkpoints, self.said(), "sha256")
        return hmac.compare_digest(expected, self.code)

    def said(self) -> bytes:
        """Return what is signed."""
        root, previous = self.merkle_root.hex(), self.previous_hash.hex()
        numbers = (self.id, self.first_seq, self.last_seq, self.last_name)
        created_at = self.created_at.astimezone(UTC).isoformat()
        return orjson.dumps([*numbers, self.month, created_at, root, previous, self.key_id])


# Before the first checkpoint.
GENESIS = Checkpoint(0, 0, 0, "", b"", b"", "", datetime.min.replace(tzinfo=UTC), 0)


def merkle_root(rows: Iterable[bytes]) -> bytes:
    """Return the root of the tree over ``rows`` (RFC 6962 §2.1)."""
    sha256 = hashlib.sha256
    level = [sha256(b"\x00" + row).digest() for row in rows]
    if not level:
        return sha256(b"").digest()
    while len(level) > 1:
        # The last of an odd number rises as it is, which gives the RFC's tree.
        rest = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + rest
    return level[0]
