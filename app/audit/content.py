"""Prompts and answers, where `AUDIT_CONTENT` asks for them: masked, compressed, encrypted.

Two keys in turn, each for one event alone. In the spool it comes from `AUDIT_HMAC_KEY`, in the
database from that and from the person's own secret in `audit_names`: neither the database nor the
key opens anything without the other, and once the secret is erased nobody does.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg2.extras import execute_values
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.audit.chain import AuditKey, AuditKeys, UnknownAuditKeyError
from app.audit.event import AuditEvent
from app.audit.masks import masked
from app.audit.names import NONCE_BYTES, ErasedError, Name
from app.audit.rows import owner_of, uuid_of
from app.utils.exceptions import DatabaseUnavailableError

logger = logging.getLogger("audit")

# Of each text, in UTF-8: with its event a sealed one must fit what a spool reads at once, 1 MiB,
# where nothing of it can be compressed.
MAX_TEXT_BYTES = 300_000
CUT = "[…]"
EDGE = 200
SEPARATOR = "."
RETRY_AFTER_S = 5.0

ADD_CONTENTS = """
    INSERT INTO audit_contents (event_id, at, name_id, key_id, prompt, answer) VALUES %s
    ON CONFLICT DO NOTHING
"""
CONTENT = text("""
    SELECT content.key_id, content.prompt, content.answer,
      name.id, name.kind, name.value, name.secret, name.commitment
    FROM audit_contents AS content JOIN audit_names AS name ON name.id = content.name_id
    WHERE content.event_id = CAST(:event_id AS uuid)
""")
# What a legal hold protects stays.
DROP_OLD = text("""
    DELETE FROM audit_contents AS content WHERE content.at < :before AND NOT EXISTS (
      SELECT 1 FROM legal_holds AS held
      LEFT JOIN audit_names AS name ON name.kind = 'user' AND name.value = held.subject
      WHERE held.lifted_at IS NULL AND (held.subject IS NULL OR name.id = content.name_id)
    )
""")


class UnreadableContentError(ValueError):
    """It was not sealed or encrypted like this, or was changed since."""


@dataclass(frozen=True, slots=True)
class Content:
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A row's part that is encrypted."""

    key_id: str
    prompt: bytes
    answer: bytes


class ContentKeys:
    """Seals, encrypts and opens; no I/O."""

    def __init__(self, keys: AuditKeys) -> None:
        self._keys = keys

    def seal(self, event_id: str, prompt: str, answer: str) -> str:
        """Return the texts masked and sealed, for `AuditEvent.content`.

        Of texts at their longest this takes a tenth of a second: for a thread.
        """
        key, event = self._keys.current, uuid_of(event_id)
        plain = orjson.dumps([_kept(prompt), _kept(answer)])
        sealed = _encrypt(_spool_key(key, event), event.bytes, plain)
        return key.id + SEPARATOR + b64encode(sealed).decode()

    def open_sealed(self, event_id: str, sealed: str) -> Content:
        """Raises: UnknownAuditKeyError, UnreadableContentError."""
        key_id, _, encoded = sealed.partition(SEPARATOR)
        key, event = self._keys.named(key_id), uuid_of(event_id)
        try:
            decoded = b64decode(encoded)
        except ValueError as fault:
            raise UnreadableContentError from fault
        plain = _decrypt(_spool_key(key, event), event.bytes, decoded)
        return Content(*orjson.loads(plain))

    def encrypt(self, event_id: UUID, owner: Name, content: Content) -> StoredContent:
        """Raises: ErasedError."""
        key = self._keys.current
        own = _person_key(key, owner, event_id)
        prompt, answer = (
            _encrypt(own, event_id.bytes + part, said.encode())
            for part, said in ((b"prompt", content.prompt), (b"answer", content.answer))
        )
        return StoredContent(key.id, prompt, answer)

    def decrypt(self, event_id: UUID, owner: Name, stored: StoredContent) -> Content:
        """Raises: ErasedError, UnknownAuditKeyError, UnreadableContentError."""
        own = _person_key(self._keys.named(stored.key_id), owner, event_id)
        parts = ((b"prompt", stored.prompt), (b"answer", stored.answer))
        return Content(*(_decrypt(own, event_id.bytes + part, it).decode() for part, it in parts))


class ContentStore:
    """Blocking. Where nothing is to be kept there is none, and what comes along is let go."""

    def __init__(self, engine: Engine, keys: AuditKeys) -> None:
        self._engine = engine
        self.keys = ContentKeys(keys)

    def add(
        self, cursor: Any, events: Sequence[AuditEvent], names: dict[tuple[str, str], Name]
    ) -> None:
        """Store the contents of ``events`` under their owners' secrets, in the transaction of
        their rows. One that nobody can open any more must not keep the others waiting."""
        rows = []
        for event in events:
            if event.content is None:
                continue
            kind, value = owner_of(event)
            try:
                rows.append(self._row(event, names[kind, value or ""]))
            except (UnknownAuditKeyError, UnreadableContentError) as fault:
                reason = type(fault).__name__
                logger.critical(
                    "audit_content_lost", extra={"event_id": event.event_id, "reason": reason}
                )
        if rows:
            execute_values(cursor, ADD_CONTENTS, rows, page_size=len(rows))

    def read(self, event_id: str) -> Content | None:
        """Return what is kept of an event.

        Raises: ErasedError, UnknownAuditKeyError, UnreadableContentError, DatabaseUnavailableError.
        """
        event = uuid_of(event_id)
        row = self._found(event)
        if row is None:
            return None
        key_id, prompt, answer, number, kind, value, secret, commitment = row
        owner = Name(number, kind, value, secret and bytes(secret), bytes(commitment))
        return self.keys.decrypt(event, owner, StoredContent(key_id, bytes(prompt), bytes(answer)))

    def _found(self, event_id: UUID) -> Any:
        try:
            with self._engine.connect() as connection:
                return connection.execute(CONTENT, {"event_id": str(event_id)}).one_or_none()
        except (DBAPIError, PoolTimeoutError) as fault:
            raise DatabaseUnavailableError(retry_after_s=RETRY_AFTER_S) from fault

    def _row(self, event: AuditEvent, owner: Name) -> tuple[object, ...]:
        event_id = uuid_of(event.event_id)
        content = self.keys.open_sealed(event.event_id, event.content or "")
        stored = self.keys.encrypt(event_id, owner, content)
        return str(event_id), event.at, owner.id, stored.key_id, stored.prompt, stored.answer


def drop_old_contents(connection: Connection, before: datetime) -> int:
    """Delete what is older, but for what a legal hold protects; return how many. For the owner."""
    return connection.execute(DROP_OLD, {"before": before}).rowcount


def _kept(said: str) -> str:
    """Return what is stored of a text."""
    encoded = said.encode(errors="replace")
    if len(encoded) <= MAX_TEXT_BYTES:
        return masked(encoded.decode())
    start = masked(encoded[:MAX_TEXT_BYTES].decode(errors="ignore"))
    # What the cut left of a number or a name is no whole one, and was not masked.
    return start[:-EDGE] + CUT


def _spool_key(key: AuditKey, event_id: UUID) -> bytes:
    return hmac.digest(key.contents, b"spool" + event_id.bytes, "sha256")


def _person_key(key: AuditKey, owner: Name, event_id: UUID) -> bytes:
    if owner.secret is None:
        raise ErasedError(owner.id)
    return hmac.digest(key.contents, b"person" + owner.secret + event_id.bytes, "sha256")


def _encrypt(key: bytes, said_with: bytes, plain: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, zlib.compress(plain), said_with)


def _decrypt(key: bytes, said_with: bytes, encrypted: bytes) -> bytes:
    nonce, rest = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
    try:
        return zlib.decompress(AESGCM(key).decrypt(nonce, rest, said_with))
    except (InvalidTag, ValueError) as fault:
        raise UnreadableContentError from fault
