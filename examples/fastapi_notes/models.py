"""The tables, for SQLAlchemy and Alembic."""

from __future__ import annotations

import datetime

from sqlalchemy import func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str] = mapped_column(default="")
    folder: Mapped[str] = mapped_column(default="inbox", index=True)
    changed: Mapped[datetime.datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
