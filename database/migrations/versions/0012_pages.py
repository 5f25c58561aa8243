"""The pages: who is signed in, requests for more, verifications under way, one person's days"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _who_is_signed_in()
    _requests_for_more()
    op.create_table(
        "trail_verifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("since", sa.Date()),
        sa.Column("rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rows_expected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("report", JSONB()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trail_verifications")),
    )
    op.create_index(
        "ix_holds_would_refuse",
        "holds",
        ["created_at"],
        postgresql_where=sa.text("entries @? 'strict $[*] ? (@[5] == true)'"),
    )
    op.create_index("ix_usage_days_user", "usage_days", ["user_id", "day"])
    op.create_index("ix_usage_days_team", "usage_days", ["team_id", "day"])


def _who_is_signed_in() -> None:
    op.create_table(
        "page_sessions",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary()),
        sa.Column("user_id", sa.Text()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "(key_hash IS NULL) <> (user_id IS NULL)", name=op.f("ck_page_sessions_whose")
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_page_sessions")),
    )
    op.create_index("ix_page_sessions_user", "page_sessions", ["user_id"])
    op.create_index("ix_page_sessions_expires_at", "page_sessions", ["expires_at"])
    op.create_table(
        "sign_in_links",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_sign_in_links")),
    )
    op.create_index("ix_sign_in_links_user", "sign_in_links", ["user_id"])
    op.create_index("ix_sign_in_links_expires_at", "sign_in_links", ["expires_at"])
    op.create_table(
        "sign_in_failures",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("place", sa.LargeBinary(), nullable=False),
        sa.Column("failed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_failures")),
    )
    op.create_index("ix_sign_in_failures_place", "sign_in_failures", ["place", "failed_at"])


def _requests_for_more() -> None:
    op.create_table(
        "raise_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("decided_at", MOMENT),
        sa.Column("decided_by", sa.Text()),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.Column("raise_id", sa.BigInteger()),
        sa.CheckConstraint("amount > 0", name=op.f("ck_raise_requests_amount")),
        sa.CheckConstraint("days > 0", name=op.f("ck_raise_requests_days")),
        sa.CheckConstraint(
            "state IN ('open', 'approved', 'declined')", name=op.f("ck_raise_requests_state")
        ),
        sa.ForeignKeyConstraint(
            ["budget_id"], ["budgets.id"], name=op.f("fk_raise_requests_budget_id_budgets")
        ),
        sa.ForeignKeyConstraint(
            ["raise_id"],
            ["budget_raises.id"],
            name=op.f("fk_raise_requests_raise_id_budget_raises"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raise_requests")),
    )
    op.create_index(
        "uq_raise_requests_open",
        "raise_requests",
        ["budget_id", "subject"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_raise_requests_subject", "raise_requests", ["subject"])


def downgrade() -> None:
    op.drop_index("ix_holds_would_refuse", "holds")
    op.drop_index("ix_usage_days_team", "usage_days")
    op.drop_index("ix_usage_days_user", "usage_days")
    for table in (
        "trail_verifications",
        "raise_requests",
        "sign_in_failures",
        "sign_in_links",
        "page_sessions",
    ):
        op.drop_table(table)
