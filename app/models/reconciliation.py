from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class ReconciliationRow(Base):
    """How our records of a day in `timezone` and LiteLLM's agreed, when they were last compared."""

    __tablename__ = "reconciliations"

    day: Mapped[date] = mapped_column(primary_key=True)
    timezone: Mapped[str] = mapped_column(Text)
    reconciled_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    matched: Mapped[int] = mapped_column(BigInteger)
    missing_here: Mapped[int] = mapped_column(BigInteger)
    missing_there: Mapped[int] = mapped_column(BigInteger)
    differing: Mapped[int] = mapped_column(BigInteger)
    # Of the matched: those that both sides can only estimate.
    estimated: Mapped[int] = mapped_column(BigInteger)
    adjusted: Mapped[int] = mapped_column(BigInteger)
    difference_micro_usd: Mapped[int] = mapped_column(BigInteger)
    adjusted_micro_usd: Mapped[int] = mapped_column(BigInteger)
    models: Mapped[list[Any]] = mapped_column(JSONB)
    # The first of them; the counts are of all.
    discrepancies: Mapped[list[Any]] = mapped_column(JSONB)
