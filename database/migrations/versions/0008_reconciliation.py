"""Reconciliation: what was compared, and what the later truth gives back"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

COUNTS = ("matched", "missing_here", "missing_there", "differing", "estimated", "adjusted")
AMOUNTS = ("difference_micro_usd", "adjusted_micro_usd")


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("reconciled_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*COUNTS, *AMOUNTS)),
        sa.Column("models", postgresql.JSONB(), nullable=False),
        sa.Column("discrepancies", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_reconciliations")),
    )
    op.add_column(
        "budget_lines",
        sa.Column("credited", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_budget_lines_credited"), "budget_lines", "credited BETWEEN 0 AND posted"
    )
    op.add_column("holds", sa.Column("credited", postgresql.JSONB()))


def downgrade() -> None:
    op.drop_column("holds", "credited")
    op.drop_constraint(op.f("ck_budget_lines_credited"), "budget_lines")
    op.drop_column("budget_lines", "credited")
    op.drop_table("reconciliations")
