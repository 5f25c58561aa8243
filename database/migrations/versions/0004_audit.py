"""The audit trail"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "audit_names",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text()),
        sa.Column("secret", sa.LargeBinary()),
        sa.Column("commitment", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_names")),
    )
    op.create_index("uq_audit_names_value", "audit_names", ["kind", "value"], unique=True)
    _create_events()
    op.create_table(
        "audit_checkpoints",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("merkle_root", sa.LargeBinary(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_name", sa.Integer(), nullable=False),
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_checkpoints")),
    )
    _create_retention()
    sums = ("requests", "failed", "estimated", "input_tokens", "output_tokens", "cost_micro_usd")
    place = ("user_id", "team_id", "key_id", "model_id")
    for table, when in (("usage_days", "day"), ("usage_months", "month")):
        op.create_table(
            table,
            sa.Column(when, sa.Date(), nullable=False),
            *(sa.Column(name, sa.Integer(), nullable=False) for name in place),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
            sa.PrimaryKeyConstraint(when, *place, name=op.f(f"pk_{table}")),
        )
    _create_closed_months(sums)
    _create_contents()
    _create_legal_holds()


def _create_contents() -> None:
    op.create_table(
        "audit_contents",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name_id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("prompt", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_audit_contents")),
    )
    op.create_index("ix_audit_contents_at", "audit_contents", ["at"], postgresql_using="brin")
    op.create_index("ix_audit_contents_name", "audit_contents", ["name_id"])


def _create_legal_holds() -> None:
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column(
            "set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("lifted_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legal_holds")),
    )


def _create_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid()),
        sa.Column("cost_micro_usd", sa.BigInteger()),
        sa.Column("event", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer()),
        sa.Column("team_id", sa.Integer()),
        sa.Column("key_id", sa.Integer()),
        sa.Column("model_id", sa.Integer()),
        sa.Column("model_used_id", sa.Integer()),
        sa.Column("input_tokens", sa.Integer()),
        sa.Column("output_tokens", sa.Integer()),
        sa.Column("latency_ms", sa.Integer()),
        sa.Column("first_byte_ms", sa.Integer()),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("is_estimated", sa.Boolean(), nullable=False),
        sa.Column("private", sa.LargeBinary()),
        sa.Column("detail", sa.Text()),
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "at", name=op.f("pk_audit_events")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_audit_events_seq", "audit_events", ["seq"], postgresql_using="brin")
    op.create_index("ix_audit_events_user", "audit_events", ["user_id", "at"])
    op.create_index("ix_audit_events_event", "audit_events", ["event", "at"])
    op.create_index(
        "ix_audit_events_request",
        "audit_events",
        ["request_id"],
        postgresql_where=sa.text("request_id IS NOT NULL"),
    )


def _create_retention() -> None:
    op.create_table(
        "audit_drops",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("last_checkpoint", sa.BigInteger(), nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("month", "last_checkpoint", name=op.f("pk_audit_drops")),
    )


def _create_closed_months(sums: tuple[str, ...]) -> None:
    op.create_table(
        "closed_months",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_hash", sa.LargeBinary(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("code", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_closed_months")),
    )
    place = ("team_id", "user_id", "model_id")
    op.create_table(
        "closed_usage",
        sa.Column("month", sa.Date(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in place),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
        sa.PrimaryKeyConstraint("month", *place, name=op.f("pk_closed_usage")),
    )


def downgrade() -> None:
    tables = ("closed_usage", "closed_months", "legal_holds", "audit_drops", "audit_contents")
    for table in (*tables, "usage_months", "usage_days"):
        op.drop_table(table)
    for table in ("audit_checkpoints", "audit_events", "audit_names"):
        op.drop_table(table)
