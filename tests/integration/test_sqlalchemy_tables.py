"""Vectors in ordinary tables and vss0 tables through SQLAlchemy; what create_all and drop_all make of declarations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from vssnative.errors import ConfigurationError, QueryError, VssWarning
from vssnative.integrations.sqlalchemy import (
    Embedded,
    Vector,
    distance,
    install,
    nearest,
    search,
    status,
    sync,
)


class Base(DeclarativeBase):
    pass


class Picture(Base):
    __tablename__ = "pictures"
    id: Mapped[int] = mapped_column(primary_key=True)
    vector: Mapped[Any] = mapped_column(Vector(3), nullable=True)
    other: Mapped[Any] = mapped_column(Vector(3), nullable=True)


class Doc(Base):
    __tablename__ = "docs"
    __table_args__ = {"sqlite_vss0": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[Any] = mapped_column(Vector(4, metric="cosine"), nullable=True)
    small: Mapped[Any] = mapped_column("the small", Vector(8, element="int8", metric="l2"), nullable=True)
    company: Mapped[str | None] = mapped_column(sa.String(40), sqlite_vss="indexed")
    owner: Mapped[int | None] = mapped_column(sqlite_vss="partition")
    note: Mapped[str | None] = mapped_column(sqlite_vss="auxiliary")


class Named(Base):
    __tablename__ = "named"
    __table_args__ = {"sqlite_vss0": True}
    name: Mapped[str] = mapped_column(primary_key=True)
    vector: Mapped[Any] = mapped_column(Vector(2))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    install(engine)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_vectors_come_back_as_they_went_in(engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.add_all([Picture(vector=[1, 2, 3]), Picture(vector=np.arange(3.0)), Picture()])
        session.add(Picture(vector=np.array([1.5, 0, -2], np.float32).tobytes()))
        session.commit()
        values = [one.vector for one in session.scalars(sa.select(Picture).order_by(Picture.id))]
        assert values[2] is None and values[0].dtype == np.float32
        assert [value.tolist() for value in values if value is not None] == [
            [1, 2, 3],
            [0, 1, 2],
            [1.5, 0, -2],
        ]
        [first] = session.scalars(sa.select(Picture).where(Picture.id == 1))
        first.vector = np.array([1, 2, 3], np.float32)
        assert not session.is_modified(first)
        first.vector = [3, 2, 1]
        assert session.is_modified(first)
        session.commit()
        assert session.scalar(sa.select(Picture.vector).where(Picture.id == 1)).tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "expected 3 numbers, got 2 numbers"),
        ([[1, 2, 3]], r"got an array of shape \(1, 3\)"),
        ([1, 2, float("nan")], "element 2 is nan"),
        (b"1234", "expected 12 bytes of float32, got 4"),
        ("abc", "expected 3 numbers, got str"),
    ],
)
def test_what_is_no_vector_is_refused(engine: sa.Engine, value: Any, message: str) -> None:
    with Session(engine) as session:
        session.add(Picture(vector=value))
        with pytest.raises(sa.exc.StatementError, match=message):
            session.flush()


def test_distances_of_columns(engine: sa.Engine) -> None:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((30, 3)).astype(np.float32)
    query = random.standard_normal(3).astype(np.float32)
    rows64, query64 = vectors.astype(np.float64), query.astype(np.float64)
    wanted = {
        "l2_distance": np.linalg.norm(rows64 - query64, axis=1),
        "l1_distance": np.abs(rows64 - query64).sum(axis=1),
        "max_inner_product": -(rows64 @ query64),
        "cosine_distance": 1 - rows64 @ query64 / (np.linalg.norm(rows64, axis=1) * np.linalg.norm(query64)),
    }
    with Session(engine) as session:
        session.add_all(Picture(id=n + 1, vector=vector, other=query) for n, vector in enumerate(vectors))
        session.add(Picture(id=31))
        session.commit()
        for name, values in wanted.items():
            expression = getattr(Picture.vector, name)(query)
            rows = session.execute(
                sa.select(Picture.id, expression)
                .where(expression.is_not(None))
                .order_by(expression)
                .limit(10)
            ).all()
            assert [row[0] for row in rows] == (np.argsort(values)[:10] + 1).tolist()
            np.testing.assert_allclose([row[1] for row in rows], np.sort(values)[:10], rtol=1e-5)
            within = session.scalars(sa.select(Picture.id).where(expression < float(np.median(values)))).all()
            assert len(within) == 15
            columns = getattr(Picture.vector, name)(Picture.other)
            found = session.scalars(sa.select(columns).where(Picture.id < 31).order_by(Picture.id)).all()
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-6)
            assert session.scalar(sa.select(expression).where(Picture.id == 31)) is None
        text = str(
            sa.select(Picture.vector.l2_distance([1, 2, 3])).compile(
                engine, compile_kwargs={"literal_binds": True}
            )
        )
        assert "x'0000803f0000004000004040'" in text


def test_a_vss0_table_is_written_and_read_by_the_orm(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        [sql] = connection.scalars(sa.text("select sql from sqlite_master where name = 'docs'"))
    assert sql.startswith(
        "CREATE VIRTUAL TABLE docs USING vss0(id INTEGER primary key, title(4) metric_type=COSINE"
    )
    with Session(engine) as session:
        docs = [
            Doc(
                title=np.eye(4)[n % 4] + 0.01 * n,
                small=range(n, n + 8),
                company="ab"[n % 2],
                owner=n % 3,
                note=str(n),
            )
            for n in range(12)
        ]
        session.add_all(docs)
        session.flush()
        assert [doc.id for doc in docs] == list(range(1, 13))
        session.commit()
        doc = session.get(Doc, 3)
        assert doc is not None and doc.small.tolist() == list(range(2, 10)) and doc.small.dtype == np.int8
        doc.company, doc.title = "c", [0, 0, 0, 1]
        session.delete(session.get(Doc, 5))
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).select_from(Doc)) == 11
        assert session.scalars(sa.select(Doc.note).where(Doc.company == "c")).all() == ["2"]
        session.execute(sa.update(Doc).where(Doc.company == "c").values(note="moved"))
        session.execute(sa.insert(Doc), [{"title": [1, 1, 1, 1], "company": "d"} for _ in range(3)])
        session.execute(sa.delete(Doc).where(Doc.company == "d", Doc.id > 13))
        session.commit()
        assert session.scalars(sa.select(Doc.id).where(Doc.company == "d")).all() == [13]


def test_nearest_rows_of_a_vss0_table(engine: sa.Engine) -> None:
    random = np.random.default_rng(8)
    vectors = random.standard_normal((50, 4)).astype(np.float32)
    query = random.standard_normal(4).astype(np.float32)
    wanted = 1 - vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
    with Session(engine) as session:
        session.add_all(
            Doc(id=n + 1, title=vector, company="ab"[n % 2], small=range(8))
            for n, vector in enumerate(vectors)
        )
        session.commit()
        statement = (
            sa.select(Doc, distance(Doc)).where(nearest(Doc.title, query, k=5)).order_by(distance(Doc))
        )
        rows = session.execute(statement).all()
        assert [row[0].id for row in rows] == (np.argsort(wanted)[:5] + 1).tolist()
        np.testing.assert_allclose([row[1] for row in rows], np.sort(wanted)[:5], rtol=1e-4)
        even = [n for n in np.argsort(wanted) if n % 2]
        filtered = statement.where(Doc.company == "b")
        assert [row[0].id for row in session.execute(filtered)] == [n + 1 for n in even[:5]]
        streamed = (
            sa.select(Doc.id)
            .where(
                nearest(Doc.title, query, recall=1.0), sa.func.length(Doc.company) == 1, Doc.company == "b"
            )
            .order_by(distance(Doc))
            .limit(7)
        )
        assert session.scalars(streamed).all() == [n + 1 for n in even[:7]]
        within = sa.select(Doc.id).where(nearest(Doc.title, query, max_distance=0.5))
        assert len(session.scalars(within).all()) == int((wanted <= 0.5).sum())
        other = aliased(Doc)
        through = sa.select(other.id).where(nearest(other.title, query, k=2)).order_by(distance(other))
        assert session.scalars(through).all() == (np.argsort(wanted)[:2] + 1).tolist()
        joined = (
            sa.select(Picture.id, distance(Doc))
            .join(Doc, Doc.id == Picture.id)
            .where(nearest(Doc.title, query, k=3))
        )
        assert session.execute(joined).all() == []
        table = Doc.__table__
        core = sa.select(table.c.id).where(nearest(table.c.title, query, k=1))
        assert session.scalars(core).all() == [int(np.argmin(wanted)) + 1]
        assert session.scalars(
            sa.select(Doc.id).order_by(Doc.title.cosine_distance(query)).limit(1)
        ).all() == [int(np.argmin(wanted)) + 1]
        assert session.scalar(sa.select(Doc.small.l2_distance(range(1, 9))).limit(1)) == pytest.approx(8**0.5)
    for column, arguments, message in (
        (Doc.company, {"k": 3}, "expected a Vector column"),
        (Doc.title, {"k": 0}, "k must be a number of rows"),
    ):
        with pytest.raises(QueryError, match=message):
            nearest(column, query, **arguments)


def test_a_vss0_table_with_a_key_of_text(engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.add_all([Named(name="a", vector=[1, 0]), Named(name="b", vector=[0, 1])])
        session.commit()
        found = session.scalars(sa.select(Named).where(nearest(Named.vector, [0, 2], k=1))).all()
        assert [one.name for one in found] == ["b"]
        session.add(Named(name="a", vector=[1, 1]))
        with pytest.raises(sa.exc.IntegrityError):
            session.flush()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([sa.Column("a", sa.Integer, server_default="1")], "a vss0 table keeps no default"),
        ([sa.Column("a", sa.Integer, index=True)], "sqlite_vss='indexed'"),
        ([sa.Column("a", sa.Integer, sa.ForeignKey("pictures.id"))], "ForeignKeyConstraint"),
        ([sa.Column("a", sa.Integer, sqlite_vss="quick")], "must be one of indexed, partition, auxiliary"),
        ([sa.Column("a", sa.Integer, primary_key=True)], "one column"),
        (
            [sa.Column("a", sa.Integer), sa.Column("b", sa.Integer), sa.UniqueConstraint("a", "b")],
            "UniqueConstraint",
        ),
    ],
)
def test_what_a_vss0_table_cannot_have_is_refused(engine: sa.Engine, items: list[Any], message: str) -> None:
    metadata = sa.MetaData()
    sa.Table("pictures", metadata, sa.Column("id", sa.Integer, primary_key=True))
    table = sa.Table(
        "wrong",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("v", Vector(3)),
        *items,
        sqlite_vss0=True,
    )
    with pytest.raises(ConfigurationError, match=message):
        table.create(engine)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "a number of dimensions"),
        ({"dim": 3, "element": "float64"}, "element must be one of"),
        ({"dim": 3, "metric": "nearest"}, "metric must be one of l2"),
        ({"dim": 3, "index": "hnsw"}, "index must be one of cells, flat"),
    ],
)
def test_options_of_a_vector_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Vector(**arguments)


def test_tables_are_reflected(engine: sa.Engine) -> None:
    metadata = sa.MetaData()
    metadata.reflect(engine, only=["pictures"])
    kind = metadata.tables["pictures"].c.vector.type
    assert isinstance(kind, Vector) and kind.dim == 3


def test_create_all_again_and_drop_all(engine: sa.Engine) -> None:
    Base.metadata.create_all(engine)
    Base.metadata.drop_all(engine)
    assert sa.inspect(engine).get_table_names() == []
    Base.metadata.create_all(engine)
    statements: list[Any] = []
    mock = sa.create_mock_engine("sqlite://", lambda statement, *_: statements.append(statement))
    Base.metadata.create_all(mock, checkfirst=False)
    assert any("USING vss0" in str(one.compile(dialect=mock.dialect)) for one in statements)


def test_embeddings_are_declared(tmp_path: Path) -> None:
    class Own(DeclarativeBase):
        pass

    class Told:
        told = Embedded("title", model="hash:32", full_text=True)

    class Post(Told, Own):
        __tablename__ = "posts"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]

    class Note(Told, Own):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str] = mapped_column("the title")
        body: Mapped[str]
        whole = Embedded(template="{title}{{}} {body}", model="hash:64", name="whole")

    engine = sa.create_engine(f"sqlite:///{tmp_path / 'd.db'}")
    install(engine)
    with engine.begin() as connection:  # the tables were there before
        connection.execute(sa.text("create table posts(id integer primary key, title text)"))
        connection.execute(sa.text("insert into posts(title) values ('zebra')"))
    Own.metadata.create_all(engine)
    Own.metadata.create_all(engine)
    assert sorted(one.name for one in status(engine)) == ["notes", "posts", "whole"]
    with Session(engine) as session:
        session.add(Note(title="one", body="two"))
        session.commit()
        assert sync(engine).rows == 3
        assert search(session, Post, "zebra", k=1)[0].result.text_rank == 1
        assert search(session, Note, "one{} two", k=1, name="whole")[0].distance == pytest.approx(0, abs=1e-6)
    assert repr(Note.whole) == "Embedded(template='{title}{{}} {body}', model='hash:64', name='whole')"
    Own.metadata.tables["notes"].drop(engine)
    assert [one.name for one in status(engine)] == ["posts"]
    Own.metadata.drop_all(engine)
    assert status(engine) == []

    class Clash(Own):
        __tablename__ = "clash"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        told = Embedded("title", name="posts", model="hash:32")

    Post.__table__.create(engine)
    with pytest.warns(VssWarning, match="embeddings posts of table posts; give it another name="):
        Own.metadata.create_all(engine)
    engine.dispose()


def test_declarations_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="either columns"):
        Embedded()
    with pytest.raises(ConfigurationError, match="either columns"):
        Embedded("a", template="{b}")
    with pytest.raises(ConfigurationError, match="expected names of columns, got 7"):
        Embedded(7)  # type: ignore[arg-type]
    table = sa.Table(
        "t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), Embedded("missing", model="hash:8")
    )
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'd.db'}")
    with pytest.raises(ConfigurationError, match="table t has no column 'missing'; it has id"):
        table.create(engine)
    engine.dispose()
