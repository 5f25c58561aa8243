from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class AlertRow(Base):
    """One rule and subject, from when it was first told until it is over."""

    __tablename__ = "alerts"
    __table_args__ = (
        CheckConstraint(
            "state IN ('opened', 'repeated', 'acknowledged', 'escalated', 'resolved')", name="state"
        ),
        CheckConstraint("severity IN ('info', 'warning', 'critical')", name="severity"),
        CheckConstraint("(ended_at IS NOT NULL) = (state = 'resolved')", name="ended"),
        Index(
            "uq_alerts_live",
            "rule",
            "subject",
            unique=True,
            postgresql_where=text("state <> 'resolved'"),
        ),
        Index("ix_alerts_ended_at", "ended_at"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    rule: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    told_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    level: Mapped[int]
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    messages: Mapped[int]
    total: Mapped[int] = mapped_column(BigInteger)
    untold: Mapped[int] = mapped_column(BigInteger)
    is_hushed: Mapped[bool]
    owes_end: Mapped[bool]
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    acknowledged_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    acknowledged_by: Mapped[str | None] = mapped_column(Text)


class AlertCountRow(Base):
    """How often something happened within ten seconds."""

    __tablename__ = "alert_counts"
    __table_args__ = (
        Index("ix_alert_counts_new", "bucket", postgresql_where=text("taken < count")),
    )

    rule: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    bucket: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    reason: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    # Of these the alerts know.
    taken: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)


class AlertSignalRow(Base):
    """Something has begun, or is over; gone when the alerts know it."""

    __tablename__ = "alert_signals"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    rule: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    is_over: Mapped[bool]
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)


class AlertLookRow(Base):
    """When something was last done that all workers together do from time to time."""

    __tablename__ = "alert_looks"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
