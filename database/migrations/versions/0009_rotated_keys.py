"""Keys that have a successor: it has their name, and both live for a while"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

INDEX = "uq_api_keys_live_name"
BEFORE = "revoked_at IS NULL"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("replaced_at", sa.DateTime(timezone=True)))
    _index(f"{BEFORE} AND replaced_at IS NULL")


def downgrade() -> None:
    # Of two of one name the successor stays.
    op.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE replaced_at IS NOT NULL"
        " AND revoked_at IS NULL"
    )
    _index(BEFORE)
    op.drop_column("api_keys", "replaced_at")


def _index(where: str) -> None:
    op.drop_index(INDEX, "api_keys")
    op.create_index(INDEX, "api_keys", ["name"], unique=True, postgresql_where=sa.text(where))
