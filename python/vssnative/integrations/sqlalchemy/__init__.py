"""SQLAlchemy 2: vss0 in every connection of an engine, vectors as columns, embeddings on mapped classes, searches that
answer with mapped objects.

engine = create_engine("sqlite:///blog.db")
install(engine)

class Post(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embeddings = Embedded("title")

Base.metadata.create_all(engine)
sync(engine)
with Session(engine) as session:
    for found in search(session, Post, "sqlite vector search", k=5, where=Post.title != "draft"):
        print(found.object.title, found.distance)

    engine        install
    types         Vector, and distances of columns
    tables        vss0 tables as Table and as mapped classes
    embedded      Embedded: what create_all and Alembic make of it
    searching     search
    calls         sync, status, add_embeddings, ... on engines, connections and sessions, awaited on asynchronous ones
"""

from __future__ import annotations

from .calls import (
    add_embeddings,
    change_model,
    drop_embeddings,
    run,
    status,
    sync,
)
from .embedded import Embedded
from .engine import install
from .searching import Found, FoundList, search
from .tables import distance, nearest
from .types import Vector

__all__ = [
    "Embedded",
    "Found",
    "FoundList",
    "Vector",
    "add_embeddings",
    "change_model",
    "distance",
    "drop_embeddings",
    "install",
    "nearest",
    "run",
    "search",
    "status",
    "sync",
]
