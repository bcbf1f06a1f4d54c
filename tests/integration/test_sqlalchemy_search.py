"""Searches through SQLAlchemy: one SELECT in one snapshot, sessions of every kind, keys of every kind, inheritance."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    scoped_session,
    selectinload,
    sessionmaker,
)
from sqlalchemy.pool import NullPool, StaticPool

import vssnative
from vssnative.errors import ConfigurationError, MigrationError, QueryError
from vssnative.integrations.sqlalchemy import (
    Embedded,
    add_embeddings,
    change_model,
    drop_embeddings,
    install,
    run,
    search,
    status,
    sync,
)

MODEL = "hash:64"


class Base(DeclarativeBase):
    pass


class Writer(Base):
    __tablename__ = "writers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Post(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    headline: Mapped[str] = mapped_column("title")
    company: Mapped[str] = mapped_column(default="acme")
    writer_id: Mapped[int | None] = mapped_column(sa.ForeignKey("writers.id"))
    writer: Mapped[Writer | None] = relationship()
    embeddings = Embedded("headline", model=MODEL)


class Letter(Base):
    """A key that SQLite stores otherwise than Python sees it."""

    __tablename__ = "letters"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    body: Mapped[str]
    embeddings = Embedded("body", model=MODEL)


class Place(Base):
    __tablename__ = "places"
    country: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    about: Mapped[str]
    __table_args__ = (Embedded(template="{country}: {about}", model=MODEL),)


class Employee(Base):
    __tablename__ = "employees"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    about: Mapped[str]
    embeddings = Embedded("about", model=MODEL)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}


class Manager(Employee):
    __tablename__ = "managers"
    id: Mapped[int] = mapped_column(sa.ForeignKey("employees.id"), primary_key=True)
    level: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "manager"}


class Guest(Employee):
    """Shares the table."""

    __mapper_args__ = {"polymorphic_identity": "guest"}


def fill(session: Session) -> None:
    session.add(Writer(id=1, name="Ada"))
    session.add_all(
        Post(headline=f"title word{n}", company="acme" if n % 2 else "other", writer_id=1 if n < 4 else None)
        for n in range(20)
    )
    session.add_all(Letter(body=f"letter word{n}") for n in range(5))
    session.add_all(Place(country=f"c{n % 2}", about=f"about word{n}") for n in range(5))
    session.add_all(Employee(about=f"works on word{n}") for n in range(5))
    session.add_all(Manager(about=f"leads word{n}", level=n) for n in range(5))
    session.add_all(Guest(about=f"visits word{n}") for n in range(5))
    session.commit()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    install(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        fill(session)
    sync(engine)
    yield engine
    engine.dispose()


def test_objects_come_by_one_select_in_the_snapshot_of_the_search(engine: sa.Engine) -> None:
    seen: list[str] = []
    with Session(engine) as session:
        # Another connection changes the row between the search and the SELECT of the objects.
        other = vssnative.connect(str(engine.url.database))

        @sa.event.listens_for(engine, "before_cursor_execute")
        def watch(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)
            other.execute("update posts set company = 'sold'")
            other.commit()

        found = search(session, Post, "title word7", k=5, where=Post.company == "acme")
        assert [one.object.company for one in found] == ["acme"] * 5
        sa.event.remove(engine, "before_cursor_execute", watch)
        other.close()
    assert len(seen) == 1, seen
    assert found[0].object.headline == "title word7" and found.objects[0] is found[0].object
    assert found.results.pending == 0 and found[0].result.rank == 1


def test_filters_hold_k_and_may_look_into_other_tables(engine: sa.Engine) -> None:
    with Session(engine) as session:
        found = search(session, Post, "title word19", k=3, where=Post.writer.has(name="Ada"))
        assert len(found) == 3 and {one.object.writer_id for one in found} == {1}
        some = search(
            session, Post, "title word19", k=9, where=[Post.id.in_([1, 2, 3]), Post.company == "acme"]
        )
        assert [one.object.id for one in some] == [2]
        plain = search(session, Post, "title word19", k=9, where="company = ? and id < 5", params=["acme"])
        assert {one.object.id for one in plain} == {2, 4}
        text = search(session, Post, "title word19", k=20, where=sa.text("title like '%word1%'"))
        assert {one.object.headline for one in text} == {f"title word{n}" for n in (1, *range(10, 20))}
        with pytest.raises(QueryError, match="brings its values"):
            search(session, Post, "x", where=Post.id == 1, params=[1])
        with pytest.raises(QueryError, match="got a int"):
            search(session, Post, "x", where=7)


def test_options_load_what_belongs_to_the_objects(engine: sa.Engine) -> None:
    with Session(engine) as session:
        [one] = search(session, Post, "title word1", k=1, load_options=[selectinload(Post.writer)])
    assert one.object.writer is not None and one.object.writer.name == "Ada"  # detached: it was loaded


def test_what_the_session_changed_is_seen(engine: sa.Engine) -> None:
    with Session(engine) as session:
        [found] = search(session, Post, "title word7", k=1)
        found.object.headline = "changed"
        [again] = search(session, Post, "title word7", k=1)
        assert again.object is found.object and again.result.stale
        session.delete(found.object)
        assert search(session, Post, "title word7", k=1)[0].object is not found.object
        with pytest.raises(vssnative.SyncError, match="transaction"):
            search(session, Post, "title word7", k=1, fresh=True)
        session.rollback()
        session.add(Post(headline="zebra"))
        session.commit()
        assert search(session, Post, "zebra", k=1, fresh=True)[0].object.headline == "zebra"
        assert search(session, Post, None, similar_to=1, k=1)[0].object.id != 1


@pytest.mark.parametrize("model", [Letter, Place])
def test_keys_that_sqlite_stores_otherwise(engine: sa.Engine, model: Any) -> None:
    with Session(engine) as session:
        attribute = model.body if model is Letter else model.about
        found = search(session, model, "about letter word3", k=5)
        assert len(found) == 5 and len({id(one.object) for one in found}) == 5
        key = found[0].object
        condition = attribute.like("%word3")
        [same] = search(session, model, "word3", k=5, where=condition)
        assert isinstance(same.object.id if model is Letter else same.object.number, uuid.UUID)
        assert sa.inspect(key).persistent


@pytest.mark.parametrize("model", [Letter, Place, Manager])
def test_rows_like_an_object_or_its_key(engine: sa.Engine, model: Any) -> None:
    with Session(engine) as session:
        first = session.scalars(sa.select(model)).first()
        key = tuple(sa.inspect(first).identity)
        like_it = search(session, model, similar_to=first, k=4).objects
        assert len(like_it) == 4 and first not in like_it
        assert search(session, model, similar_to=key if len(key) > 1 else key[0], k=4).objects == like_it
        raw = next(one.result.key for one in search(session, model, "word3", k=9) if one.object is first)
        assert search(session, model, similar_to=raw, k=4).objects == like_it
        other = session.scalars(sa.select(Post)).first()
        with pytest.raises(QueryError, match=f"similar_to: expected a {model.__name__} or its key, got"):
            search(session, model, similar_to=other)


def test_a_table_of_an_attached_database_is_refused(tmp_path: Path) -> None:
    class Base(DeclarativeBase):
        pass

    class Note(Base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        embeddings = Embedded("body", model=MODEL)

    class Away(Base):
        __tablename__ = "notes"
        __table_args__ = {"schema": "other"}
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        embeddings = Embedded("body", model=MODEL, name="away")

    engine = sa.create_engine(f"sqlite:///{tmp_path}/main.db", poolclass=sa.pool.StaticPool)
    install(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"attach '{tmp_path}/other.db' as other")
    Note.__table__.create(engine)  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="table other.notes is in an attached database"):
        Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "create table if not exists other.notes(id integer primary key, body text)"
        )
    Away.__table__.drop(engine)  # type: ignore[attr-defined]
    assert [one.name for one in status(engine)] == [
        "notes"
    ]  # those of the main database's table of that name
    # In a project whose schemas are another server's, tests map them away.
    translated = engine.execution_options(schema_translate_map={"other": None})
    Base.metadata.drop_all(engine, tables=[Note.__table__])  # type: ignore[list-item]
    Away.__table__.create(translated)  # type: ignore[attr-defined]
    assert [(one.name, one.table) for one in status(engine)] == [("away", "notes")]
    engine.dispose()


def test_a_condition_on_a_uuid(engine: sa.Engine) -> None:
    with Session(engine) as session:
        [wanted] = session.scalars(sa.select(Letter).where(Letter.body == "letter word2"))
        [found] = search(session, Letter, "letter word4", k=3, where=Letter.id == wanted.id)
        assert found.object is wanted
        [found] = search(session, Letter, "letter word4", k=3, where=Letter.id.in_([wanted.id, uuid.uuid4()]))
        assert found.object is wanted


def test_inheritance(engine: sa.Engine) -> None:
    with Session(engine) as session:
        everybody = search(session, Employee, "word3", k=15)
        assert {type(one.object) for one in everybody} == {Employee, Manager, Guest}
        managers = search(session, Manager, "leads word3", k=10)
        assert len(managers) == 5 and {type(one.object) for one in managers} == {Manager}
        assert managers[0].object.about == "leads word3"
        high = search(session, Manager, "leads word3", k=10, where=Manager.level >= 3)
        assert sorted(one.object.level for one in high) == [3, 4]
        guests = search(session, Guest, "word3", k=10)
        assert len(guests) == 5 and {type(one.object) for one in guests} == {Guest}
        with pytest.raises(QueryError, match="Guest shares table employees"):
            search(session, Guest, "word3", where="id < 3")
        assert len(search(session, Guest, "word3", where=sa.text("employees.id < 12"))) == 1


def test_several_embeddings_of_one_table(engine: sa.Engine) -> None:
    add_embeddings(engine, Post, columns=["company"], model=MODEL, name="companies")
    sync(engine)
    with Session(engine) as session:
        assert search(session, Post, "title word7", k=1)[0].object.headline == "title word7"
        assert search(session, Post, "other", k=1, name="companies")[0].object.company == "other"
        drop_embeddings(session, Post)
        assert search(session, Post, "other", k=1)[0].object.company == "other"


def test_the_other_calls(engine: sa.Engine) -> None:
    assert [one.name for one in status(engine, Post)] == ["posts"]
    with engine.connect() as connection:
        assert len(status(connection)) == 4
    change_model(engine, Post, "hash:32")
    assert sync(engine, Post).rows == 20
    with Session(engine) as session:
        assert status(session, Post.__table__)[0].model == "hash:32"
        assert run(session, lambda conn: conn.execute("select count(*) from posts").fetchone()) == (20,)
    drop_embeddings(engine, Place)
    add_embeddings(engine, Place)
    assert sync(engine, "places").rows == 5


def test_errors_say_what_was_expected(engine: sa.Engine) -> None:
    with Session(engine) as session:
        with pytest.raises(ConfigurationError, match="expected a mapped class"):
            search(session, str, "x")
        with pytest.raises(
            ConfigurationError, match="expected a Session or AsyncSession, got sqlalchemy.engine"
        ):
            search(engine, Post, "x")  # type: ignore[call-overload]
        with pytest.raises(
            MigrationError, match="Writer: table writers has no embeddings in this file; declare"
        ):
            search(session, Writer, "x")
        drop_embeddings(session, Post)
        with pytest.raises(MigrationError, match="they are declared: metadata.create_all"):
            search(session, Post, "x")
    with pytest.raises(ConfigurationError, match="writers declares 0 Embedded"):
        add_embeddings(engine, Writer)
    with pytest.raises(ConfigurationError, match="expected an engine, connection or session"):
        status("app.db")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="expected the name of a table"):
        sync(engine, int)


@pytest.mark.parametrize("pool", [NullPool, StaticPool, None])
def test_pools_in_memory_and_on_file(tmp_path: Path, pool: Any) -> None:
    place = f"/{tmp_path / 'p.db'}" if pool is not StaticPool else "/:memory:"
    engine = sa.create_engine(f"sqlite://{place}", poolclass=pool)
    with engine.connect():  # one connection is there before
        pass
    install(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Post(headline="zebra"))
        session.commit()
    sync(engine)
    with Session(engine) as session:
        assert search(session, Post, "zebra", k=1)[0].object.headline == "zebra"
    engine.dispose()


def test_memory_with_the_pool_of_one_connection_a_thread() -> None:
    engine = sa.create_engine("sqlite://")
    install(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Post(headline="zebra"))
        session.commit()
    assert sync(engine).rows == 1
    engine.dispose()


def test_install_sets_the_journal_as_connect_does(tmp_path: Path) -> None:
    def journal(**options: Any) -> tuple[Any, Any]:
        engine = sa.create_engine(f"sqlite:///{tmp_path / uuid.uuid4().hex}")
        install(engine, **options)
        with engine.connect() as connection:
            answer = [
                connection.scalar(sa.text(f"pragma {name}")) for name in ("journal_mode", "synchronous")
            ]
        engine.dispose()
        return answer[0], answer[1]

    assert journal() == ("wal", 1)
    assert journal(wal=False) == ("delete", 2)
    assert journal(wal=False, synchronous="extra") == ("delete", 3)
    assert journal(synchronous=None) == ("wal", 2)
    with pytest.raises(ConfigurationError, match="synchronous must be one of"):
        journal(synchronous="sometimes")
    with pytest.raises(ConfigurationError, match="expected an Engine or AsyncEngine, got builtins.str"):
        install("sqlite://")


def test_sessions_of_every_kind(engine: sa.Engine) -> None:
    class Mine(Session):
        pass

    Mine.__module__ = "their.package"
    with Mine(engine) as session:
        assert search(session, Post, "title word7", k=1)[0].object.headline == "title word7"
    scoped = scoped_session(sessionmaker(engine))
    assert search(scoped, Post, "title word7", k=1)[0].object.headline == "title word7"
    assert status(scoped, Post)[0].pending == 0
    scoped.remove()


def run_async(url: str, work: Callable[[AsyncEngine], Any], **options: Any) -> None:
    async def main() -> None:
        engine = create_async_engine(url, **options)
        install(engine)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session:
            await session.run_sync(fill)
        await work(engine)
        await engine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("options", [{}, {"poolclass": NullPool}, {"poolclass": StaticPool}])
def test_asynchronous_engines(tmp_path: Path, options: dict[str, Any]) -> None:
    async def work(engine: AsyncEngine) -> None:
        assert (await sync(engine)).rows == 45
        async with AsyncSession(engine) as session:
            found = await search(session, Post, "title word7", k=3, where=Post.company == "acme")
            assert found[0].object.headline == "title word7" and len(found) == 3
            assert (await search(session, Letter, "letter word3", k=1))[0].object.body == "letter word3"
            assert [one.pending for one in await status(session, Post)] == [0]
            inside = await session.run_sync(lambda plain: search(plain, Post, "title word7", k=1))
            assert inside[0].object is found[0].object
            found[0].object.headline = "other"
            assert (await search(session, Post, "title word7", k=1))[0].result.stale
            await session.rollback()
        async with engine.connect() as connection:
            await change_model(connection, Post, "hash:32")
            assert (await sync(connection, Post)).rows == 20
            await drop_embeddings(connection, Post)
            await add_embeddings(connection, Post)
            assert await run(connection, lambda conn: conn.execute("select 7").fetchone()) == (7,)
        scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        assert (await search(scoped, Manager, "leads word3", k=9))[0].object.level == 3
        await scoped.remove()

    run_async(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}", work, **options)


def test_an_asynchronous_engine_in_memory() -> None:
    async def work(engine: AsyncEngine) -> None:
        await sync(engine)
        async with AsyncSession(engine) as session:
            assert len(await search(session, Post, "title word7", k=10)) == 10

    run_async("sqlite+aiosqlite://", work)


def test_asynchronous_searches_at_once_beside_a_writer(tmp_path: Path) -> None:
    """What a search returns satisfies its filter, whatever is written meanwhile."""

    async def work(engine: AsyncEngine) -> None:
        await sync(engine)

        async def write() -> None:
            for turn in range(30):
                async with AsyncSession(engine) as session:
                    await session.execute(sa.update(Post).values(company=f"c{turn % 2}"))
                    await session.commit()

        async def read() -> None:
            for turn in range(30):
                async with AsyncSession(engine) as session:
                    wanted = f"c{turn % 2}"
                    found = await search(session, Post, "title word7", k=10, where=Post.company == wanted)
                    assert {one.object.company for one in found} <= {wanted}

        await asyncio.gather(write(), *(read() for _ in range(4)))

    run_async(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}", work)


async def _search_notes(sqlmodel: Any, note: Any, engine: sa.Engine) -> None:
    from sqlmodel.ext.asyncio.session import AsyncSession as Theirs

    asynchronous = create_async_engine(f"sqlite+aiosqlite:///{engine.url.database}")
    install(asynchronous)
    async with Theirs(asynchronous) as session:
        [found] = await search(session, note, "note word2", k=1)
        assert found.object.body == "note word2"
    await asynchronous.dispose()


def test_sqlmodel(tmp_path: Path) -> None:
    import sqlmodel

    class Note(sqlmodel.SQLModel, table=True):  # type: ignore[misc,name-defined,call-arg]
        __tablename__ = "notes"
        __table_args__ = (Embedded("body", model=MODEL),)
        id: int | None = sqlmodel.Field(default=None, primary_key=True)
        body: str

    engine = sqlmodel.create_engine(f"sqlite:///{tmp_path / 'n.db'}")
    install(engine)
    sqlmodel.SQLModel.metadata.create_all(engine)
    with sqlmodel.Session(engine) as session:
        session.add_all(Note(body=f"note word{n}") for n in range(5))
        session.commit()
    sync(engine)
    with sqlmodel.Session(engine) as session:
        [found] = search(session, Note, "note word3", k=1, where=Note.id > 1)
        assert isinstance(found.object, Note) and found.object.body == "note word3"
    asyncio.run(_search_notes(sqlmodel, Note, engine))
    sqlmodel.SQLModel.metadata.drop_all(engine)
    assert status(engine) == []
    engine.dispose()


def test_the_model_is_asked_before_the_snapshot(engine: sa.Engine) -> None:
    """A slow model must not keep others from writing, in a file without the write-ahead log either."""
    from vssnative.embedding.hashing import HashEmbedder

    class Slow(HashEmbedder):
        asked = 0

        def embed_queries(self, texts: Any) -> Any:
            self.asked += 1
            other = vssnative.connect(str(engine.url.database), wal=False, timeout=0.1)
            other.execute("update posts set title = 'written meanwhile' where id = 1")
            other.commit()
            other.close()
            return super().embed_queries(texts)

    with engine.connect() as connection:
        assert connection.scalar(sa.text("pragma journal_mode = delete")) == "delete"
    slow = Slow(dim=64)
    with Session(engine) as session:
        found = search(session, Post, "title word7", k=3, embedder=slow)
        assert found[0].object.headline == "title word7" and slow.asked == 1
        [one] = search(session, Post, {"title word7": 1.0}, k=1, where=Post.id == 1)
        assert one.object.headline == "written meanwhile"


def test_the_functions_of_the_package_inside_run_sync(tmp_path: Path) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            assert (await connection.run_sync(vssnative.sync)).rows == 45
            assert len(await connection.run_sync(vssnative.status)) == 4
            await connection.run_sync(vssnative.drop_embeddings, "posts")
            await connection.run_sync(vssnative.add_embeddings, "posts", columns=["title"], model=MODEL)
            assert (await connection.run_sync(vssnative.sync, "posts")).rows == 20
        async with AsyncSession(engine) as session:
            found = await session.run_sync(
                vssnative.search, "posts", "title word7", k=3, where="company = 'acme'"
            )
            assert found[0].row["title"] == "title word7" and len(found) == 3
            with pytest.raises(QueryError, match="no such column"):
                await session.run_sync(vssnative.search, "posts", "x", where="absent = 1")

    run_async(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}", work)
    run_async("sqlite+aiosqlite://", work)
