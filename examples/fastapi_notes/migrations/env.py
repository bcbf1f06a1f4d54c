"""Alembic's environment: as `alembic init` writes it, and vssnative's operations."""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import context
from sqlalchemy import engine_from_config, pool

sys.path.insert(0, str(Path(__file__).parents[1]))
from models import Base

from vssnative.integrations import alembic as vss_alembic

engine = engine_from_config(
    context.config.get_section(context.config.config_ini_section, {}), poolclass=pool.NullPool
)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=vss_alembic.include_name,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()
