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
    # The file's one writer from here on: of several processes that start at once, one migrates, and the others find it done.
    connection.exec_driver_sql("begin immediate")
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=vss_alembic.include_name,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
