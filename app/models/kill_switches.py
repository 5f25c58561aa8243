"""Kill switches, thrown and lifted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class KillSwitchRow(Base):
    """Calls that are refused: everybody's, a team's, a person's, or those to a model."""

    __tablename__ = "kill_switches"
    __table_args__ = (
        CheckConstraint("scope IN ('all', 'model', 'team', 'user')", name="scope"),
        CheckConstraint("(scope = 'all') = (subject = '')", name="subject"),
        Index(
            "uq_kill_switches_thrown",
            "scope",
            "subject",
            unique=True,
            postgresql_where=text("lifted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    scope: Mapped[str] = mapped_column(Text)
    # Empty where it is everybody's.
    subject: Mapped[str] = mapped_column(Text)
    # Shown to those who are refused.
    reason: Mapped[str] = mapped_column(Text)
    thrown_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    thrown_by: Mapped[str] = mapped_column(Text)
    # None: until it is lifted.
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # None: nobody has lifted it, whether it has expired or not.
    lifted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    lifted_by: Mapped[str | None] = mapped_column(Text)
