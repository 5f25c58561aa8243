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


class BudgetRow(Base):
    """A limit: of whom, in what, for how long."""

    __tablename__ = "budgets"
    __table_args__ = (
        CheckConstraint("scope IN ('global', 'team', 'user', 'key', 'model')", name="scope"),
        CheckConstraint("metric IN ('tokens', 'cost', 'requests')", name="metric"),
        CheckConstraint("period IN ('minute', 'hour', 'day', 'week', 'month')", name="period"),
        CheckConstraint("mode IN ('enforce', 'shadow')", name="mode"),
        CheckConstraint("limit_amount >= 0", name="limit"),
        UniqueConstraint("scope", "subject", "metric", "period", name="uq_budgets_place"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    scope: Mapped[str] = mapped_column(Text)
    # "" for the global scope; "*" for everyone in a scope who has none of their own.
    subject: Mapped[str] = mapped_column(Text)
    metric: Mapped[str] = mapped_column(Text)
    period: Mapped[str] = mapped_column(Text)
    # Tokens, micro-USD or requests.
    limit_amount: Mapped[int] = mapped_column(BigInteger)
    mode: Mapped[str] = mapped_column(Text, server_default="enforce")
    # A default of the configuration that was taken away stays as a row, so that it does not return.
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now(), index=True
    )


class LineRow(Base):
    """What is posted and pending on one budget, for one subject, in one period."""

    __tablename__ = "budget_lines"
    __table_args__ = (
        # What a page of a period's lines is read by.
        Index("ix_budget_lines_period", "budget_id", "period_start", "subject"),
        CheckConstraint("posted >= 0", name="posted"),
        CheckConstraint("pending >= 0", name="pending"),
        CheckConstraint("credited BETWEEN 0 AND posted", name="credited"),
    )

    budget_id: Mapped[int] = mapped_column(ForeignKey("budgets.id"), primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    period_start: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    posted: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    pending: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # Attempts that a shadow budget had no room for, and let pass.
    would_refuse: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # Of what is posted, what was posted too much on an estimate.
    credited: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class RaiseRow(Base):
    """More than a budget allows, for one of its subjects, for a while."""

    __tablename__ = "budget_raises"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount"),
        Index(
            "ix_budget_raises_live",
            "budget_id",
            "subject",
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    budget_id: Mapped[int] = mapped_column(ForeignKey("budgets.id"))
    # Whose line; for a budget of everybody's the one person, team, key or model that it is for.
    subject: Mapped[str] = mapped_column(Text)
    # Tokens, micro-USD or requests.
    amount: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_by: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    # None: nobody has ended it, whether it has expired or not.
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_by: Mapped[str | None] = mapped_column(Text)


class RaiseRequestRow(Base):
    """A person's request for more of a budget, and what an administrator made of it."""

    __tablename__ = "raise_requests"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("days > 0", name="days"),
        CheckConstraint("state IN ('open', 'approved', 'declined')", name="state"),
        # One at a time of each budget.
        Index(
            "uq_raise_requests_open",
            "budget_id",
            "subject",
            unique=True,
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_raise_requests_subject", "subject"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    budget_id: Mapped[int] = mapped_column(ForeignKey("budgets.id"))
    # The person.
    subject: Mapped[str] = mapped_column(Text)
    # Tokens, micro-USD or requests.
    amount: Mapped[int] = mapped_column(BigInteger)
    days: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="open")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    decided_by: Mapped[str | None] = mapped_column(Text)
    # What the administrator said to the person.
    answer: Mapped[str] = mapped_column(Text, server_default="")
    raise_id: Mapped[int | None] = mapped_column(ForeignKey("budget_raises.id"))


class HoldRow(Base):
    """One call's claim on budgets, and what became of it."""

    __tablename__ = "holds"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'settled', 'released', 'expired')", name="state"),
        # What the sweeper looks for.
        Index(
            "ix_holds_expiring",
            "expires_at",
            postgresql_where=text("state = 'pending'"),
        ),
        # Whom shadow budgets would have stopped.
        Index(
            "ix_holds_would_refuse",
            "created_at",
            postgresql_where=text("entries @? 'strict $[*] ? (@[5] == true)'"),
        ),
    )

    request_id: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    user_id: Mapped[str | None] = mapped_column(Text)
    team_id: Mapped[str | None] = mapped_column(Text)
    key_id: Mapped[str | None] = mapped_column(Text)
    # [[budget id, subject, period's start, metric, amount, would refuse], …]; the last is true
    # where a shadow budget had no room: `entries @> '[[7, true]]'` finds whom budget 7 would stop.
    entries: Mapped[list[Any]] = mapped_column(JSONB)
    # [tokens, micro-USD, requests] each; a checkpoint only where there was one.
    held: Mapped[list[Any]] = mapped_column(JSONB)
    checkpoint: Mapped[list[Any] | None] = mapped_column(JSONB)
    posted: Mapped[list[Any]] = mapped_column(JSONB)
    is_estimated: Mapped[bool] = mapped_column(server_default=text("false"))
    # As `posted`; only where the later truth has taken some of it back.
    credited: Mapped[list[Any] | None] = mapped_column(JSONB)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class CallsUnderWayRow(Base):
    """What one named person has under way, where there is no Redis to say so."""

    __tablename__ = "calls_under_way"
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012  # SQLAlchemy's own form

    person: Mapped[str] = mapped_column(Text, primary_key=True)
    # {call: until when it counts}
    calls: Mapped[dict[str, Any]] = mapped_column(JSONB)
