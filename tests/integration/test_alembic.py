"""Alembic: a project as its own templates make it, its models changing from revision to revision."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations

import vssnative
from vssnative.errors import ConfigurationError, MigrationError
from vssnative.integrations.alembic import (
    AddEmbeddings,
    ChangeModel,
    CreateVssTable,
    DropEmbeddings,
    DropVssTable,
    include_name,
)

from ..documents import blocks

HEAD = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from vssnative.integrations.sqlalchemy import Embedded, Vector

class Base(DeclarativeBase):
    pass
"""
POST = """
class Post(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    summary: Mapped[str | None]
"""
EMBEDDED = POST + '    embeddings = Embedded("title", model="hash:64")\n'
DOC = """
class Doc(Base):
    __tablename__ = "docs"
    __table_args__ = {"sqlite_vss0": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    body = mapped_column(Vector(8, metric="cosine"))
    company: Mapped[str | None] = mapped_column(sqlite_vss="indexed")
    owner: Mapped[int | None] = mapped_column(sqlite_vss="partition")
    note: Mapped[str | None] = mapped_column(sqlite_vss="auxiliary")
"""


@pytest.fixture(autouse=True)
def _loggers_stay() -> Iterator[None]:
    """Alembic's own env.py silences every logger that there is (``fileConfig``); other tests read ours."""
    yield
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("vssnative") and isinstance(logger, logging.Logger):
            logger.disabled = False


class Project:
    """A directory with ``alembic init``, a module of models, and a database."""

    def __init__(self, folder: Path, template: str) -> None:
        self.folder = folder
        self.path = folder / "app.db"
        self.config = Config(folder / "alembic.ini")
        command.init(self.config, str(folder / "scripts"), template=template)
        url = f"sqlite+aiosqlite:///{self.path}" if template == "async" else f"sqlite:///{self.path}"
        self.config.set_main_option("sqlalchemy.url", url)
        env = folder / "scripts" / "env.py"
        text = env.read_text().replace(
            "target_metadata = None",
            "import vssnative.integrations.alembic\nfrom models import Base\ntarget_metadata = Base.metadata",
        )
        # As Alembic's own documentation has it for SQLite.
        env.write_text(
            text.replace(
                "target_metadata=target_metadata", "target_metadata=target_metadata, render_as_batch=True"
            )
        )
        self.conn = vssnative.connect(self.path)

    def models(self, text: str) -> None:
        (self.folder / "models.py").write_text(HEAD + text)
        sys.modules.pop("models", None)

    def revision(self) -> str:
        """Autogenerate one, and its text."""
        sys.modules.pop("models", None)
        made: Any = command.revision(self.config, "next", autogenerate=True)
        return Path(made.path).read_text()

    def upgrade(self) -> None:
        sys.modules.pop("models", None)
        command.upgrade(self.config, "head")

    def check(self) -> None:
        """Nothing is left to be generated."""
        sys.modules.pop("models", None)
        command.check(self.config)

    def move(self, text: str) -> str:
        """Change the models, generate a revision, apply it; its text. Then nothing is left to do."""
        self.models(text)
        written = self.revision()
        self.upgrade()
        self.check()
        return written

    def downgrade(self, to: str = "-1") -> None:
        sys.modules.pop("models", None)
        command.downgrade(self.config, to)

    def sql(self, statement: str) -> list[Any]:
        rows = self.conn.execute(statement).fetchall()
        self.conn.commit()
        return rows

    def triggers(self) -> int:
        return int(
            self.sql("select count(*) from sqlite_master where type = 'trigger' and name glob 'vssnative_*'")[
                0
            ][0]
        )


@pytest.fixture(params=["generic", "async"])
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Project(tmp_path, request.param)
    yield made
    made.conn.close()
    sys.modules.pop("models", None)


def body(text: str, function: str) -> str:
    """The body of a function of a revision."""
    rest = text.partition(f"def {function}(")[2].partition("\n")[2]
    return textwrap.dedent(rest.partition("\ndef ")[0])


def test_embeddings_come_and_go_with_their_declaration(project: Project) -> None:
    assert "embeddings" not in body(project.move(POST), "upgrade")
    project.sql("insert into posts(title) values ('zebra'), ('lion')")
    written = project.move(EMBEDDED)
    assert "op.add_embeddings('posts', columns=['title'], model='hash:64', declared=True)" in body(
        written, "upgrade"
    )
    assert "op.drop_embeddings('posts')" in body(written, "downgrade")
    assert vssnative.sync(project.conn).rows == 2
    assert vssnative.search(project.conn, "posts", "zebra", k=1)[0].key == 1

    written = project.move(
        EMBEDDED.replace('"title", model="hash:64"', '"title", "summary", model="hash:32"')
    )
    assert "op.change_model('posts', model='hash:32', columns=['title', 'summary'])" in body(
        written, "upgrade"
    )
    assert "op.change_model('posts', model='hash:64', columns=['title'])" in body(written, "downgrade")
    vssnative.sync(project.conn)
    assert vssnative.status(project.conn)[0].model == "hash:32"
    project.downgrade()
    assert vssnative.sync(project.conn).texts == 0  # the vectors of before were still there
    assert vssnative.status(project.conn)[0].model == "hash:64"
    project.upgrade()
    project.downgrade()  # before sync had finished the change
    assert vssnative.status(project.conn)[0].model == "hash:64"
    project.upgrade()

    written = project.move(POST)
    assert "op.drop_embeddings('posts')" in body(written, "upgrade")
    assert "op.add_embeddings('posts', columns=['title', 'summary'], model='hash:32', declared=True)" in body(
        written, "downgrade"
    )
    assert vssnative.status(project.conn) == [] and project.triggers() == 0
    project.downgrade()
    assert vssnative.sync(project.conn).rows == 2
    project.downgrade("base")
    assert project.sql("select count(*) from sqlite_master where name = 'posts'") == [(0,)]


def test_embeddings_go_before_their_table(project: Project) -> None:
    project.move(EMBEDDED)
    written = project.move("")
    up = body(written, "upgrade")
    assert up.index("op.drop_embeddings('posts')") < up.index("op.drop_table('posts')")
    down = body(written, "downgrade")
    assert down.index("op.create_table('posts'") < down.index("op.add_embeddings('posts'")
    project.downgrade()
    assert [one.name for one in vssnative.status(project.conn)] == ["posts"]


def test_what_a_declaration_can_say_is_seen(project: Project) -> None:
    def post(declaration: str) -> str:
        return POST + f"    embeddings = Embedded({declaration})\n"

    project.move(post('template="{title}: {summary}", model="hash:8", chunk=(20, 5), name="whole"'))
    written = project.move(post('template="{title}: {summary}", model="hash:8", chunk=30, name="whole"'))
    assert "op.change_model('whole', model='hash:8', template='{title}: {summary}', chunk=30)" in written
    written = project.move(
        post('template="{title}: {summary}", model="hash:8", chunk=30, name="whole", full_text=True')
    )
    up = body(written, "upgrade")
    assert up.index("op.drop_embeddings('whole')") < up.index("full_text=True, name='whole'")
    project.downgrade()
    project.upgrade()
    written = project.move(
        post('template="{title}: {summary}", model="hash:8", chunk=30, name="whole", full_text="trigram"')
    )
    assert "full_text='trigram', name='whole'" in body(written, "upgrade")
    assert "full_text=True, name='whole'" in body(written, "downgrade")
    sql = "select sql from sqlite_master where name = 'vss_text_whole'"
    assert "tokenize = 'trigram'" in project.conn.execute(sql).fetchone()[0]
    project.downgrade()
    assert "tokenize" not in project.conn.execute(sql).fetchone()[0]
    project.upgrade()
    project.check()
    written = project.move(post('"title", model="hash:8", store="both"'))
    assert "op.drop_embeddings('whole')" in written and "store='both'" in written
    assert "title_embedding" in str(
        project.sql("pragma table_info(posts)")
    )  # and yet nothing is generated for it
    project.downgrade("base")


def test_vss0_tables_come_and_go(project: Project) -> None:
    written = project.move(DOC)
    up = body(written, "upgrade")
    assert "op.create_vss_table('docs'" in up and "Vector(8, metric='cosine')" in up
    assert "from vssnative.integrations.sqlalchemy import Vector" in written and "create_table(" not in up
    assert "op.drop_vss_table('docs')" in body(written, "downgrade")
    project.sql("insert into docs(body, company) values ('[1,2,3,4,5,6,7,8]', 'acme')")
    written = project.move(DOC.replace("Vector(8", "Vector(4"))
    up = body(written, "upgrade")
    assert up.index("drop_vss_table") < up.index("Vector(4") and "# This drops the vectors of docs too." in up
    assert "Vector(8, metric='cosine')" in body(written, "downgrade")
    project.downgrade()
    assert project.sql("select vss_describe('docs')")[0][0].count('"dim": 8') == 1
    project.upgrade()
    written = project.move("")
    assert "op.drop_vss_table('docs')" in body(written, "upgrade")
    down = body(written, "downgrade")
    assert (
        "sqlite_vss='partition'" in down and "sqlite_vss='auxiliary'" in down and "primary_key=True" in down
    )
    project.downgrade("base")
    assert project.sql("select count(*) from sqlite_master where name glob 'docs*'") == [(0,)]


def test_a_vss0_table_with_a_key_of_text_is_compared(project: Project) -> None:
    named = DOC.replace("id: Mapped[int]", "id: Mapped[str]")
    project.move(named)
    written = project.move("")
    assert "sa.Column('id', sa.Text(), primary_key=True)" in body(written, "downgrade")
    project.downgrade()
    assert '"kind": "key"' in project.sql("select vss_describe('docs')")[0][0]


def test_vectors_in_ordinary_tables_are_compared(project: Project) -> None:
    picture = """
class Picture(Base):
    __tablename__ = "pictures"
    id: Mapped[int] = mapped_column(primary_key=True)
    vector = mapped_column(Vector(3))
"""
    assert "Vector(3)" in project.move(picture)
    written = project.move(picture.replace("Vector(3)", "Vector(5)"))
    assert "existing_type=Vector(3)" in written and "type_=Vector(5)" in written
    project.downgrade()
    assert "F32_BLOB(3)" in str(project.sql("pragma table_info(pictures)"))


def test_batch_mode_keeps_the_triggers(project: Project) -> None:
    project.move(EMBEDDED)
    project.sql("insert into posts(title, summary) values ('zebra', 'x'), ('lion', 'y')")
    vssnative.sync(project.conn)
    there = project.triggers()
    project.move(
        EMBEDDED.replace("summary: Mapped[str | None]", "summary: Mapped[str]")
    )  # rebuilds the table
    assert project.triggers() == there > 0
    [status] = vssnative.status(project.conn)
    assert (status.problem, status.pending) == (None, 0)
    project.sql("update posts set title = 'tiger' where id = 1")
    assert vssnative.sync(project.conn).rows == 1
    project.downgrade()
    assert project.triggers() == there
    project.upgrade()
    # The text of an embedded column may be another after a change of its type.
    project.move(
        EMBEDDED.replace("summary: Mapped[str | None]", "summary: Mapped[str]").replace(
            "title: Mapped[str]", "title: Mapped[str] = mapped_column(sa.Text())"
        )
    )
    assert vssnative.status(project.conn)[0].pending == 2
    assert vssnative.sync(project.conn).unchanged == 2


def test_batch_mode_refuses_to_take_an_embedded_column_away(project: Project) -> None:
    project.move(EMBEDDED)
    project.sql("insert into posts(title) values ('zebra')")
    project.models(EMBEDDED)
    made: Any = command.revision(project.config, "by hand")
    path = Path(made.path)
    path.write_text(
        path.read_text().replace(
            "    pass",
            "    with op.batch_alter_table('posts') as batch:\n        batch.drop_column('title')",
            1,
        )
    )
    with pytest.raises(
        MigrationError, match="table posts would have no column title any more, which is embedded"
    ):
        project.upgrade()
    assert project.sql("select title from posts") == [("zebra",)]
    assert project.sql("select count(*) from sqlite_master where name glob '_alembic_tmp*'") == [(0,)]
    assert project.triggers() > 0


def test_batch_mode_follows_a_column_that_it_renames(project: Project) -> None:
    project.move(
        POST + '    embeddings = Embedded(template="{title}: {summary}", model="hash:64", full_text=True)\n'
    )
    project.sql("insert into posts(title, summary) values ('zebra', 'stripes'), ('heron', 'ponds')")
    assert vssnative.sync(project.conn).texts == 2
    project.models(POST.replace("title", "heading") + RENAMED)
    made: Any = command.revision(project.config, "rename")
    path = Path(made.path)
    change = "    with op.batch_alter_table('posts') as batch:\n        batch.alter_column('{}', new_column_name='{}')"
    written = path.read_text()
    for names in (("title", "heading"), ("heading", "title")):
        written = written.replace("    pass", change.format(*names), 1)
    path.write_text(written)
    project.upgrade()
    assert project.triggers() > 0
    project.sql("update posts set heading = 'crane' where id = 2")
    assert vssnative.sync(project.conn).texts == 1
    found = vssnative.search(project.conn, "posts", "crane", mode="hybrid", k=1)
    assert found[0].row["heading"] == "crane" and found[0].text_rank == 1
    assert vssnative.verify(project.conn, "posts", sample=9).ok
    project.check()
    project.downgrade()
    assert vssnative.sync(project.conn).texts == 0
    assert vssnative.verify(project.conn, "posts", sample=9).ok
    assert [row.row["title"] for row in vssnative.search(project.conn, "posts", "crane", k=1)] == ["crane"]


RENAMED = '    embeddings = Embedded(template="{heading}: {summary}", model="hash:64", full_text=True)\n'


def test_an_embedded_column_that_is_dropped_can_be_migrated(project: Project) -> None:
    """A change of model needs the old column until sync has finished, so the embeddings are dropped first."""
    two = POST + '    embeddings = Embedded("title", "summary", model="hash:64")\n'
    project.move(two)
    project.sql("insert into posts(title, summary) values ('zebra', 'stripes'), ('heron', 'ponds')")
    vssnative.sync(project.conn)
    without = "\n".join(line for line in EMBEDDED.splitlines() if "summary:" not in line) + "\n"
    written = body(project.move(without), "upgrade")
    assert (
        written.index("op.drop_embeddings")
        < written.index("drop_column")
        < written.index("op.add_embeddings")
    )
    counts = vssnative.sync(project.conn)
    assert (counts.rows, counts.texts) == (2, 0)  # the cache knows their vectors
    assert [row.key for row in vssnative.search(project.conn, "posts", "heron", k=1)] == [2]
    command.downgrade(project.config, "-1")
    assert {
        field.name
        for field in vssnative.add_embeddings(
            project.conn, "posts", columns=["title", "summary"], model="hash:64"
        ).active.fields
    } == {"title", "summary"}


def test_tables_of_the_user_are_compared_whatever_they_are_called(project: Project) -> None:
    mine = """
class Mine(Base):
    __tablename__ = "vss_mine"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
"""
    project.move(EMBEDDED + mine)
    written = project.move(EMBEDDED)
    assert "op.drop_table('vss_mine')" in body(written, "upgrade")
    assert body(written, "upgrade").count("op.") == 1


def test_embeddings_that_were_added_by_hand_are_left_alone(project: Project) -> None:
    project.move(POST)
    vssnative.add_embeddings(project.conn, "posts", columns=["summary"], model="hash:8", full_text=True)
    project.check()
    project.models("")
    written = project.revision()  # but they go with their table
    assert "op.drop_embeddings('posts')" in body(written, "upgrade")
    project.upgrade()
    project.downgrade()
    assert vssnative.status(project.conn)[0].model == "hash:8"


def test_include_object_has_a_say(project: Project) -> None:
    project.move(POST + DOC)
    env = project.folder / "scripts" / "env.py"
    env.write_text(
        env.read_text().replace(
            "render_as_batch=True",
            "render_as_batch=True,"
            " include_object=lambda one, name, kind, *_: kind != 'embeddings' and name != 'docs',"
            " include_name=vssnative.integrations.alembic.include_name",
        )
    )
    project.models(EMBEDDED)
    project.check()
    assert not include_name("vssnative_queue", "table", {}) and include_name("vss_mine", "table", {})


def test_operations_refuse_what_they_cannot_do(tmp_path: Path) -> None:
    as_sql: Any = Operations(MigrationContext.configure(dialect_name="sqlite", opts={"as_sql": True}))
    with pytest.raises(MigrationError, match="--sql"):
        as_sql.add_embeddings("posts", columns=["title"])
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect() as connection:
        op: Any = Operations(MigrationContext.configure(connection))
        op.create_table("posts", sa.Column("id", sa.Integer, primary_key=True), sa.Column("title", sa.Text))
        op.add_embeddings("posts", columns=["title"], model="hash:8")
        with pytest.raises(
            MigrationError, match="holds the vectors of the embeddings posts; op.drop_embeddings"
        ):
            op.drop_vss_table("vss_posts")
        op.change_model("posts", model="hash:16")
        op.change_model("posts", model="hash:8")  # what it has already: the change is given up
        assert len(vssnative.status(connection)) == 1
        op.drop_embeddings("posts")
    engine.dispose()
    for operation in (DropVssTable("a"), DropEmbeddings("a"), ChangeModel("a", {})):
        with pytest.raises(MigrationError, match="no reverse"):
            operation.reverse()
    columns = (sa.Column("id", sa.Integer, primary_key=True),)
    assert isinstance(CreateVssTable("a", columns).reverse().reverse(), CreateVssTable)
    assert isinstance(AddEmbeddings("a", {}).reverse().reverse(), AddEmbeddings)
    for one in (
        CreateVssTable("a", columns),
        DropVssTable("a"),
        AddEmbeddings("a", {}),
        DropEmbeddings("a"),
        ChangeModel("a", {}),
    ):
        assert one.to_diff_tuple()[1] == "a"


def test_a_model_that_has_no_name_cannot_be_written(project: Project) -> None:
    project.models(POST + "    embeddings = Embedded('title', model=lambda texts: [[1.0]] * len(texts))\n")
    with pytest.raises(ConfigurationError, match='give it by name, model="module:attribute"'):
        project.revision()


def test_the_page(project: Project) -> None:
    """docs/alembic.md: its models, its line of env.py and its revision."""
    models, line, revision = blocks("alembic.md")
    (project.folder / "models.py").write_text(models)
    assert line.strip() in (project.folder / "scripts" / "env.py").read_text()
    (project.folder / "scripts" / "versions" / "first.py").write_text(revision)
    project.upgrade()
    project.check()
    project.sql("insert into posts(title, summary) values ('zebra', 'stripes')")
    assert vssnative.sync(project.conn).rows == 1
    project.downgrade("base")
    assert project.sql(
        "select count(*) from sqlite_master where name glob 'posts*' or name glob 'documents*'"
    ) == [(0,)]
