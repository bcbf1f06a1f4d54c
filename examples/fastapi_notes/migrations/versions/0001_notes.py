"""The table of notes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("folder", sa.String, nullable=False),
        sa.Column("changed", sa.DateTime, nullable=False, server_default=sa.func.now()),
    )
    op.create_index("ix_notes_folder", "notes", ["folder"])


def downgrade() -> None:
    op.drop_table("notes")
