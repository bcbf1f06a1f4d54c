"""SQLAlchemy and Alembic."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import vssnative
from vssnative.errors import ConfigurationError
from vssnative.integrations import alembic as ours
from vssnative.integrations.sqlalchemy import install, search


class Base(DeclarativeBase):
    pass


class Post(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]


class Tag(Base):
    __tablename__ = "tags"
    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    about: Mapped[str]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    install(engine)
    install(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Post(title=f"title word{n}") for n in range(20))
        session.add_all(Tag(kind="k", name=f"n{n}", about=f"about word{n}") for n in range(5))
        session.commit()
    yield engine
    engine.dispose()


def test_every_connection_has_vss0_and_objects_are_found(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select vss_version()")) == f"v{vssnative.__version__}"
    with engine.connect() as connection:
        vssnative.add_embeddings(connection, "posts", columns=["title"], model="hash:64")
        vssnative.add_embeddings(connection, "tags", columns=["about"], model="hash:64")
    with engine.connect() as connection:
        assert vssnative.sync(connection).rows == 25
    with Session(engine) as session:
        [found] = search(session, Post, "title word7", k=1)
        assert (found.object.id, found.result.stale) == (8, False)
        [tag] = search(session, Tag, "about word3", k=1)
        assert (tag.object.kind, tag.object.name) == ("k", "n3")
        found.object.title = "changed"
        assert search(session, Post, "title word7", k=1)[0].result.stale
        session.delete(found.object)
        assert search(session, Post, "title word7", k=1)[0].object.id != 8
        assert len(search(session, Post, "word", k=9, where="id < ?", params=[5])) == 4
        session.rollback()


def test_another_database_is_refused() -> None:
    class Dialect:
        name = "postgresql"

    class Engine:
        dialect = Dialect()

    with pytest.raises(ConfigurationError, match="postgresql"):
        install(Engine())


ENV = """
from alembic import context
from sqlalchemy import create_engine
import vssnative.integrations.alembic as ours
from vssnative.integrations.sqlalchemy import install
from tests.integration.test_alembic import Base

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
install(engine)
with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=Base.metadata, include_name=ours.include_name, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
REVISION = """
from alembic import op
revision, down_revision = {revision!r}, {down!r}

def upgrade():
    {up}

def downgrade():
    {back}
"""


@pytest.fixture
def config(engine: sa.Engine, tmp_path: Path) -> Config:
    scripts = tmp_path / "alembic"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text(textwrap.dedent(ENV))
    (scripts / "script.py.mako").write_text("")
    steps = [
        ('op.add_embeddings("posts", columns=["title"], model="hash:64")', 'op.drop_embeddings("posts")'),
        (
            (
                'with op.batch_alter_table("posts", recreate="always") as batch:\n'
                '        batch.create_unique_constraint("u", ["title"])'
            ),
            "pass",
        ),
        ('op.change_model("posts", model="hash:32")', "pass"),
    ]
    for number, (up, back) in enumerate(steps, 1):
        text = REVISION.format(
            revision=str(number), down=str(number - 1) if number > 1 else None, up=up, back=back
        )
        (scripts / "versions" / f"r{number}.py").write_text(text)
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("sqlalchemy.url", str(engine.url))
    config.set_main_option("path_separator", "os")
    return config


def test_revisions_of_alembic(engine: sa.Engine, config: Config) -> None:
    command.upgrade(config, "1")
    with engine.connect() as connection:
        assert vssnative.sync(connection).rows == 20
    command.upgrade(config, "2")  # batch mode rebuilds the table: the triggers are lost
    with engine.connect() as connection:
        problem = vssnative.status(connection)[0].problem
        assert problem is not None and "triggers" in problem
        assert vssnative.sync(connection).unchanged == 20
        assert vssnative.status(connection)[0].problem is None
    command.upgrade(config, "3")
    with engine.connect() as connection:
        vssnative.sync(connection)
        assert vssnative.status(connection)[0].model == "hash:32"
    command.downgrade(config, "base")
    with engine.connect() as connection:
        assert vssnative.status(connection) == []
        assert connection.scalar(sa.text("select count(*) from posts")) == 20


def test_autogenerate_leaves_our_tables_alone(engine: sa.Engine, config: Config) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    command.upgrade(config, "1")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": ours.include_name})
        assert compare_metadata(context, Base.metadata) == []


def test_there_is_no_sql_mode(config: Config) -> None:
    with pytest.raises(vssnative.MigrationError, match="--sql"):
        from alembic.migration import MigrationContext
        from alembic.operations import Operations

        context = MigrationContext.configure(dialect_name="sqlite", opts={"as_sql": True})
        Operations(context).add_embeddings("posts", columns=["title"])  # type: ignore[attr-defined]


def test_an_asynchronous_engine(tmp_path: Path) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    async def run() -> object:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'async.db'}")
        install(engine)
        async with engine.connect() as connection:
            version = await connection.scalar(sa.text("select vss_version()"))
        await engine.dispose()
        return version

    assert asyncio.run(run()) == f"v{vssnative.__version__}"


def test_a_session_class_of_another_package_is_a_session(tmp_path: Path) -> None:
    class Theirs(Session):
        """As sqlmodel's: a subclass that lives elsewhere."""

    Theirs.__module__ = "sqlmodel.orm.session"
    engine = sa.create_engine(f"sqlite:///{tmp_path / 's.db'}")
    with Theirs(engine) as session:
        vssnative.load(session)
        assert session.execute(sa.text("select vss_version()")).scalar() is not None
    engine.dispose()
