"""Budgets, holds"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def _moment(name: str) -> sa.Column[sa.DateTime]:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def upgrade() -> None:
    _create_budgets()
    op.create_table(
        "budget_lines",
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("posted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pending", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("would_refuse", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("posted >= 0", name=op.f("ck_budget_lines_posted")),
        sa.CheckConstraint("pending >= 0", name=op.f("ck_budget_lines_pending")),
        sa.ForeignKeyConstraint(
            ["budget_id"], ["budgets.id"], name=op.f("fk_budget_lines_budget_id_budgets")
        ),
        sa.PrimaryKeyConstraint(
            "budget_id", "subject", "period_start", name=op.f("pk_budget_lines")
        ),
    )
    _create_holds()
    _create_calls_under_way()


def _create_budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("limit_amount", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Text(), server_default="enforce", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
        sa.CheckConstraint(
            "scope IN ('global', 'team', 'user', 'key', 'model')", name=op.f("ck_budgets_scope")
        ),
        sa.CheckConstraint(
            "metric IN ('tokens', 'cost', 'requests')", name=op.f("ck_budgets_metric")
        ),
        sa.CheckConstraint(
            "period IN ('minute', 'hour', 'day', 'week', 'month')", name=op.f("ck_budgets_period")
        ),
        sa.CheckConstraint("mode IN ('enforce', 'shadow')", name=op.f("ck_budgets_mode")),
        sa.CheckConstraint("limit_amount >= 0", name=op.f("ck_budgets_limit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
        sa.UniqueConstraint("scope", "subject", "metric", "period", name="uq_budgets_place"),
    )
    op.create_index(op.f("ix_budgets_updated_at"), "budgets", ["updated_at"])


def _create_holds() -> None:
    op.create_table(
        "holds",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text()),
        sa.Column("team_id", sa.Text()),
        sa.Column("key_id", sa.Text()),
        sa.Column("entries", postgresql.JSONB(), nullable=False),
        sa.Column("held", postgresql.JSONB(), nullable=False),
        sa.Column("checkpoint", postgresql.JSONB()),
        sa.Column("posted", postgresql.JSONB(), nullable=False),
        sa.Column("is_estimated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        _moment("created_at"),
        sa.CheckConstraint(
            "state IN ('pending', 'settled', 'released', 'expired')", name=op.f("ck_holds_state")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_holds")),
    )
    op.create_index(
        "ix_holds_expiring",
        "holds",
        ["expires_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )


def _create_calls_under_way() -> None:
    op.create_table(
        "calls_under_way",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("calls", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_calls_under_way")),
        prefixes=["UNLOGGED"],
    )


def downgrade() -> None:
    for table in ("calls_under_way", "holds", "budget_lines", "budgets"):
        op.drop_table(table)
