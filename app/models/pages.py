"""Who is signed in to the pages."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class PageSessionRow(Base):
    """One browser that is signed in: with a key to `/admin/`, or as a person to `/me`."""

    __tablename__ = "page_sessions"
    __table_args__ = (
        CheckConstraint("(key_hash IS NULL) <> (user_id IS NULL)", name="whose"),
        Index("ix_page_sessions_user", "user_id"),
    )

    # SHA-256 of what the cookie has.
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    key_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    user_id: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class SignInLinkRow(Base):
    """A link that signs a person in to `/me`, once."""

    __tablename__ = "sign_in_links"
    __table_args__ = (Index("ix_sign_in_links_user", "user_id"),)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class SignInFailureRow(Base):
    """A key or a link that was refused; counted for some minutes, then forgotten."""

    __tablename__ = "sign_in_failures"
    __table_args__ = (Index("ix_sign_in_failures_place", "place", "failed_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    # A keyed hash of the network address.
    place: Mapped[bytes] = mapped_column(LargeBinary)
    failed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
