"""Embeddings of title and body, and a full-text index beside them."""

from __future__ import annotations

import os

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    model = os.environ.get("NOTES_MODEL", "minilm")
    op.add_embeddings("notes", columns=["title", "body"], model=model, full_text=True)  # type: ignore[attr-defined]


def downgrade() -> None:
    op.drop_embeddings("notes")  # type: ignore[attr-defined]
