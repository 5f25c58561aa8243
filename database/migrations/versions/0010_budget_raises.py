"""Raises of a budget for a while, and an index by which budgets are listed in pages"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

LIVE = "ended_at IS NULL"


def upgrade() -> None:
    op.create_table(
        "budget_raises",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("ended_by", sa.Text()),
        sa.CheckConstraint("amount > 0", name=op.f("ck_budget_raises_amount")),
        sa.ForeignKeyConstraint(
            ["budget_id"], ["budgets.id"], name=op.f("fk_budget_raises_budget_id_budgets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_raises")),
    )
    op.create_index(
        "ix_budget_raises_live",
        "budget_raises",
        ["budget_id", "subject"],
        postgresql_where=sa.text(LIVE),
    )
    op.create_index(
        "ix_budget_lines_period", "budget_lines", ["budget_id", "period_start", "subject"]
    )


def downgrade() -> None:
    op.drop_index("ix_budget_lines_period", "budget_lines")
    op.drop_table("budget_raises")
