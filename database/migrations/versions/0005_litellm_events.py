"""What LiteLLM says of calls (placeholder: the receiver's own migration stands in its place)"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "litellm_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text()),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.Column("model_used", sa.Text()),
        sa.Column("provider", sa.Text()),
        sa.Column("status", sa.Text()),
        sa.Column("input_tokens", sa.Integer()),
        sa.Column("output_tokens", sa.Integer()),
        sa.Column("cost_micro_usd", sa.BigInteger()),
        sa.Column("response_time_ms", sa.Integer()),
        sa.Column("is_cached", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("detail", postgresql.JSONB()),
        sa.Column("processed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_litellm_events")),
    )
    op.create_index("ix_litellm_events_request_id", "litellm_events", ["request_id"])
    op.create_index("ix_litellm_events_received_at", "litellm_events", ["received_at"])


def downgrade() -> None:
    op.drop_table("litellm_events")
