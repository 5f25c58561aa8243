"""Placeholder for 0005_litellm_events; the merge brings the real one"""

from __future__ import annotations

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
