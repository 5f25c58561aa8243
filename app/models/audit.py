from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class AuditNameRow(Base):
    """A name that rows refer to; `value` and `secret` are gone once its person was erased."""

    __tablename__ = "audit_names"
    __table_args__ = (Index("uq_audit_names_value", "kind", "value", unique=True),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text)
    value: Mapped[str | None] = mapped_column(Text)
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    commitment: Mapped[bytes] = mapped_column(LargeBinary)
    # Of the checkpoint's key: binds the number to the commitment.
    key_id: Mapped[str] = mapped_column(Text)
    code: Mapped[bytes] = mapped_column(LargeBinary)


class AuditEventRow(Base):
    """One event. Columns of fixed width first: padding would cost 20 bytes a row."""

    __tablename__ = "audit_events"
    __table_args__ = (
        # Rows are in the order of their numbers, nearly: a few pages say where they are.
        Index("ix_audit_events_seq", "seq", postgresql_using="brin"),
        Index("ix_audit_events_user", "user_id", "at"),
        Index("ix_audit_events_event", "event", "at"),
        Index(
            "ix_audit_events_request",
            "request_id",
            postgresql_where=text("request_id IS NOT NULL"),
        ),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    seq: Mapped[int] = mapped_column(BigInteger)
    event_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    # Null where it is the event's own id.
    request_id: Mapped[UUID | None] = mapped_column(Uuid)
    cost_micro_usd: Mapped[int | None] = mapped_column(BigInteger)
    event: Mapped[int] = mapped_column(Integer)
    user_id: Mapped[int | None] = mapped_column(Integer)
    team_id: Mapped[int | None] = mapped_column(Integer)
    key_id: Mapped[int | None] = mapped_column(Integer)
    model_id: Mapped[int | None] = mapped_column(Integer)
    model_used_id: Mapped[int | None] = mapped_column(Integer)
    input_tokens: Mapped[int | None] = mapped_column(Integer)
    output_tokens: Mapped[int | None] = mapped_column(Integer)
    latency_ms: Mapped[int | None] = mapped_column(Integer)
    first_byte_ms: Mapped[int | None] = mapped_column(Integer)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    is_estimated: Mapped[bool] = mapped_column(Boolean)
    private: Mapped[bytes | None] = mapped_column(LargeBinary)
    # JSON, but as the text that was signed.
    detail: Mapped[str | None] = mapped_column(Text)
    code: Mapped[bytes] = mapped_column(LargeBinary)


class AuditCheckpointRow(Base):
    """What signs a batch of rows, and refers to the checkpoint before it."""

    __tablename__ = "audit_checkpoints"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    first_seq: Mapped[int] = mapped_column(BigInteger)
    last_seq: Mapped[int] = mapped_column(BigInteger)
    month: Mapped[date]
    merkle_root: Mapped[bytes] = mapped_column(LargeBinary)
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # The names there were: their numbers have no gaps.
    last_name: Mapped[int] = mapped_column(Integer)
    code: Mapped[bytes] = mapped_column(LargeBinary)


class AuditDropRow(Base):
    """A month whose rows retention dropped, as far as a checkpoint; signed, so that a month that
    somebody else dropped shows."""

    __tablename__ = "audit_drops"

    month: Mapped[date] = mapped_column(primary_key=True)
    last_checkpoint: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    dropped_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    retention_days: Mapped[int] = mapped_column(Integer)
    key_id: Mapped[str] = mapped_column(Text)
    code: Mapped[bytes] = mapped_column(LargeBinary)


class TrailVerificationRow(Base):
    """One verification of the trail: how far it is, or what it found."""

    __tablename__ = "trail_verifications"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    started_by: Mapped[str] = mapped_column(Text)
    # Only from this day of UTC on.
    since: Mapped[date | None]
    rows: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # About as many as there are.
    rows_expected: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # When it was last heard of.
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # As `/api/admin/audit/verify` answers; None where it could not go on.
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class LegalHoldRow(Base):
    """While it is not lifted, nothing of its subject goes; without one, nothing at all."""

    __tablename__ = "legal_holds"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    subject: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    set_by: Mapped[str] = mapped_column(Text)
    set_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    lifted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class AuditContentRow(Base):
    """Prompt and answer of a call, where they are kept; unreadable without the secret of their
    owner in `audit_names`."""

    __tablename__ = "audit_contents"
    __table_args__ = (
        Index("ix_audit_contents_at", "at", postgresql_using="brin"),
        Index("ix_audit_contents_name", "name_id"),
    )

    event_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # The user, else the key.
    name_id: Mapped[int] = mapped_column(Integer)
    # Of `AUDIT_HMAC_KEY`: which one it takes to open it.
    key_id: Mapped[str] = mapped_column(Text)
    prompt: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[bytes] = mapped_column(LargeBinary)


class UsageDayRow(Base):
    """What was used on one day in `TIMEZONE`, of every combination; kept with the rows, in the
    same transaction. Numbers of `audit_names`; 0 is none."""

    __tablename__ = "usage_days"
    __table_args__ = (
        # One person's and one team's days, among those of everybody.
        Index("ix_usage_days_user", "user_id", "day"),
        Index("ix_usage_days_team", "team_id", "day"),
    )

    day: Mapped[date] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    team_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    model_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    estimated: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_micro_usd: Mapped[int] = mapped_column(BigInteger)


class UsageMonthRow(Base):
    """The same by calendar month in `TIMEZONE`, each by its first day."""

    __tablename__ = "usage_months"

    month: Mapped[date] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    team_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    model_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    estimated: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_micro_usd: Mapped[int] = mapped_column(BigInteger)


class ClosedMonthRow(Base):
    """A month in `TIMEZONE` whose sums were written down once, to charge them; signed."""

    __tablename__ = "closed_months"

    month: Mapped[date] = mapped_column(primary_key=True)
    timezone: Mapped[str] = mapped_column(Text)
    # What had been counted: everything up to this checkpoint, and nothing later.
    checkpoint_id: Mapped[int] = mapped_column(BigInteger)
    checkpoint_hash: Mapped[bytes] = mapped_column(LargeBinary)
    last_seq: Mapped[int] = mapped_column(BigInteger)
    closed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # Of the month's lines in `closed_usage`.
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str] = mapped_column(Text)
    code: Mapped[bytes] = mapped_column(LargeBinary)


class ClosedUsageRow(Base):
    """What a team's person used of a model in a closed month. Numbers of `audit_names`; 0: none."""

    __tablename__ = "closed_usage"

    month: Mapped[date] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    user_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    model_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    estimated: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_micro_usd: Mapped[int] = mapped_column(BigInteger)
