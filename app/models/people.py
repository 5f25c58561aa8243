from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Team(Base):
    """A department; appears when it is first named."""

    __tablename__ = "teams"
    __table_args__ = (CheckConstraint("char_length(id) BETWEEN 1 AND 256", name="id"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class User(Base):
    """A person; appears when a trusted key first names them."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("char_length(id) BETWEEN 1 AND 256", name="id"),
        CheckConstraint("pinned <@ ARRAY['name', 'email', 'team_id']", name="pinned"),
        # What workers poll; most people have no team of an administrator's.
        Index(
            "ix_users_team_assigned_at",
            "team_assigned_at",
            postgresql_where=text("team_assigned_at IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str | None] = mapped_column(Text)
    email: Mapped[str | None] = mapped_column(Text)
    # What the client calls them; it gives no right here.
    role: Mapped[str | None] = mapped_column(Text)
    team_id: Mapped[str | None] = mapped_column(Text)
    # The columns that an administrator has set, which what clients say changes no more.
    pinned: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
    # The name of the key that first named them; None: an administrator made them.
    first_key: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    first_seen_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_seen_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # When an administrator last gave them a team, or took it away; workers ask for what is new.
    team_assigned_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
