"""What retention dropped, signed: a month that went in any other way is one that was taken."""

from __future__ import annotations

import hmac
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from app.audit.chain import AuditKey, AuditKeys, UnknownAuditKeyError
from app.audit.partitions import following

DROPS = """
    SELECT month, last_checkpoint, dropped_at, retention_days, key_id, code FROM audit_drops
    ORDER BY month, last_checkpoint
"""


@dataclass(frozen=True, slots=True)
class Drop:
    """The rows of a month are gone, those of checkpoints up to ``last_checkpoint``."""

    month: date
    last_checkpoint: int
    dropped_at: datetime
    retention_days: int
    key_id: str = ""
    code: bytes = b""

    @property
    def was_due(self) -> bool:
        """Tell whether the whole month was older than what was to be kept."""
        return is_due(self.month, self.dropped_at, self.retention_days)

    def signed(self, key: AuditKey) -> Drop:
        unsigned = replace(self, key_id=key.id)
        return replace(unsigned, code=hmac.digest(key.checkpoints, unsigned.said(), "sha256"))

    def is_genuine(self, keys: AuditKeys) -> bool:
        try:
            key = keys.named(self.key_id)
        except UnknownAuditKeyError:
            return False
        return hmac.compare_digest(hmac.digest(key.checkpoints, self.said(), "sha256"), self.code)

    def said(self) -> bytes:
        """Return what is signed; no checkpoint can look like it."""
        dropped_at = self.dropped_at.astimezone(UTC).isoformat()
        facts = (self.month, self.last_checkpoint, dropped_at, self.retention_days, self.key_id)
        return "\t".join(("drop", *map(str, facts))).encode()

    def facts(self) -> dict[str, Any]:
        """Return the row, by its columns."""
        return asdict(self)


def is_due(month: date, now: datetime, retention_days: int) -> bool:
    """Tell whether the youngest row that the month can have is old enough to go."""
    end = datetime.combine(following(month), datetime.min.time(), UTC)
    return retention_days > 0 and end <= now - timedelta(days=retention_days)


def read_drops(cursor: Any) -> list[Drop]:
    cursor.execute(DROPS)
    return [
        Drop(month, last_checkpoint, dropped_at, days, key_id, bytes(code))
        for month, last_checkpoint, dropped_at, days, key_id, code in cursor.fetchall()
    ]
