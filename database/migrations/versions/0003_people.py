"""People and teams"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def _created_at() -> sa.Column[sa.DateTime]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _has_good_id(table: str) -> sa.CheckConstraint:
    return sa.CheckConstraint("char_length(id) BETWEEN 1 AND 256", name=op.f(f"ck_{table}_id"))


def upgrade() -> None:
    op.create_table(
        "teams",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text()),
        _created_at(),
        _has_good_id("teams"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("email", sa.Text()),
        sa.Column("role", sa.Text()),
        sa.Column("team_id", sa.Text()),
        sa.Column(
            "pinned",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("first_key", sa.Text()),
        _created_at(),
        sa.Column("first_seen_at", sa.DateTime(timezone=True)),
        sa.Column("last_seen_at", sa.DateTime(timezone=True)),
        sa.Column("team_assigned_at", sa.DateTime(timezone=True)),
        _has_good_id("users"),
        sa.CheckConstraint(
            "pinned <@ ARRAY['name', 'email', 'team_id']", name=op.f("ck_users_pinned")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index(
        "ix_users_team_assigned_at",
        "users",
        ["team_assigned_at"],
        postgresql_where=sa.text("team_assigned_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("users")
    op.drop_table("teams")
