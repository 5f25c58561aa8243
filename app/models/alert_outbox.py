from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class AlertMessageRow(Base):
    """What administrators are to be told."""

    __tablename__ = "alert_messages"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    # {kind, rule, subject, severity, at, facts, items}
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class AlertDeliveryRow(Base):
    """One message on its way to one target."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'sent', 'failed', 'moved')", name="state"),
        UniqueConstraint("message_id", "target", name="uq_alert_deliveries_place"),
        # What a target is to be sent, in order.
        Index(
            "ix_alert_deliveries_pending",
            "target",
            "id",
            postgresql_where=text("state = 'pending'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("alert_messages.id", ondelete="CASCADE"))
    channel: Mapped[str] = mapped_column(Text)
    # A fingerprint: the address itself is a secret.
    target: Mapped[str] = mapped_column(Text)
    # moved: to another target, since this one is not to be had.
    state: Mapped[str] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    not_before: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # Until then it is another process's to send.
    claimed_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_error: Mapped[str | None] = mapped_column(Text)


class AlertChannelRow(Base):
    """A target that was switched off, by itself or by a hand."""

    __tablename__ = "alert_channels"

    target: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    reason: Mapped[str | None] = mapped_column(Text)
