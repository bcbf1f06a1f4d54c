"""Django: a project of its own (tests/django_project), run by manage.py in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import vssnative

from ..documents import blocks

PROJECT = Path(__file__).parent.parent / "django_project"


class Project:
    """A copy of the project.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        shutil.copytree(PROJECT, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

    def manage(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        """Run manage.py; what it printed, errors too."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "manage.py", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def models(self, old: str, new: str) -> None:
        path = self.folder / "blog" / "models.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def migration(self, number: int) -> str:
        [path] = (self.folder / "blog" / "migrations").glob(f"{number:04}_*.py")
        return path.read_text()

    def sql(self, statement: str) -> list[Any]:
        connection = sqlite3.connect(self.folder / "app.db")
        try:
            with connection:
                return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def statuses(self) -> dict[str, vssnative.Status]:
        connection = vssnative.connect(self.folder / "app.db")
        try:
            return {one.name: one for one in vssnative.status(connection)}
        finally:
            connection.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.manage("makemigrations", "blog")
    return made


def test_the_tests_of_the_project(project: Project, tmp_path: Path) -> None:
    """In memory and on a file."""
    for place in ({}, {"TEST_DATABASE": str(tmp_path / "test.db")}):
        printed = project.manage("test", **place)
        ran = re.search(r"Ran (\d+) tests", printed)
        assert ran is not None and int(ran[1]) >= 20 and "\nOK" in printed, printed


def test_migrations_come_of_the_declarations(project: Project) -> None:
    assert "EmbeddedIndex(fields=[" in project.migration(1) and "model='hash:64'" in project.migration(1)
    printed = project.manage(*"makemigrations blog then sqlmigrate blog 0001 then migrate -v0".split())
    assert "No changes detected" in printed and "-- vssnative.add_embeddings('blog_post'" in printed
    names = set(project.statuses())
    assert {"letters", "letters_32"} < names and len(names) == 4
    project.sql("insert into blog_post('the title', body) values ('zebra', 'stripes')")
    assert "1 row, 2 texts embedded" in project.manage("vss_sync")

    # A rebuild of the table, of its columns, and another name for it: the triggers stay, and nothing is compared again.
    before = project.sql("select name, sql from sqlite_master where type = 'trigger' order by name")
    project.models('body = models.TextField(default="")', "body = models.TextField(null=True)")
    project.manage(*"makemigrations blog then migrate -v0".split())
    assert project.sql("select name, sql from sqlite_master where type = 'trigger' order by name") == before
    assert {one.problem for one in project.statuses().values()} == {None}
    assert {one.pending for one in project.statuses().values()} == {0}
    project.sql("update blog_post set body = 'seen'")
    assert "1 row, 1 text embedded" in project.manage("vss_sync", "blog.Post")

    # Other fields and another model: an index goes, one comes.
    project.models('fields=["title", "body"], model=MODEL', 'fields=["title"], model="hash:32"')
    printed = project.manage(
        *"makemigrations blog then makemigrations blog then migrate -v0 then vss_sync -v0".split()
    )
    assert "No changes detected" in printed
    assert "RemoveIndex" in project.migration(3) and "AddIndex" in project.migration(3)
    assert [one.model for one in project.statuses().values() if one.table == "blog_post"] == ["hash:32"]

    # A field with another name.
    project.models(
        'title = models.CharField(max_length=100, db_column="the title")',
        "headline = models.CharField(max_length=99)",
    )
    project.models('fields=["title"]', 'fields=["headline"]')
    admin = project.folder / "blog" / "admin.py"
    admin.write_text(admin.read_text().replace('"title"', '"headline"'))
    migrations = project.folder / "blog" / "migrations"
    [third] = migrations.glob("0003_*.py")
    (migrations / "0004_renamed.py").write_text(RENAMED.replace("0003_NAME", third.stem))
    printed = project.manage(
        *"makemigrations blog then makemigrations blog then migrate -v0 then vss_sync".split()
    )
    assert "No changes detected" in printed
    assert "1 row, 0 texts embedded" in printed  # the cache still has the vector
    assert {one.problem for one in project.statuses().values()} == {None}

    # And all the way back.
    project.manage("migrate", "blog", "0001", "-v0")
    assert [one.model for one in project.statuses().values() if one.table == "blog_post"] == ["hash:64"]
    project.manage("migrate", "blog", "zero", "-v0")
    assert project.statuses() == {}
    assert project.sql("select name from sqlite_master where name like '%blog%'") == []


RENAMED = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("blog", "0003_NAME")]
    operations = [
        migrations.RenameField("post", "title", "headline"),
    ]
"""


def test_a_model_that_is_deleted_takes_its_embeddings_along(project: Project) -> None:
    project.manage("migrate", "-v0")
    models = project.folder / "blog" / "models.py"
    models.write_text(re.sub(r"class Letter.*?(?=class Person)", "", models.read_text(), flags=re.DOTALL))
    (project.folder / "blog" / "tests.py").unlink()
    project.manage(*"makemigrations blog then migrate -v0".split())
    assert {one.table for one in project.statuses().values()} == {"blog_post", "blog_person"}
    project.manage("migrate", "blog", "0001", "-v0")
    assert {"letters", "letters_32"} < set(project.statuses())


def test_operations_by_hand(project: Project) -> None:
    """AddEmbeddings, and ChangeModel in place of an index that goes and comes."""
    project.manage("migrate", "-v0")
    [old] = [one.name for one in project.statuses().values() if one.table == "blog_post"]
    project.sql("insert into blog_post('the title', body) values ('zebra', 'stripes')")
    project.manage("vss_sync", "-v0")
    project.models('fields=["title", "body"], model=MODEL', 'fields=["title", "body"], model="hash:32"')
    (project.folder / "blog" / "migrations" / "0002_model.py").write_text(
        f"""
from django.db import migrations
from vssnative.integrations.django import AddEmbeddings, ChangeModel, EmbeddedIndex

class Migration(migrations.Migration):
    dependencies = [("blog", "0001_initial")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[ChangeModel({old!r}, {{"model": "hash:64"}}, {{"model": "hash:32"}})],
            state_operations=[
                migrations.RemoveIndex("post", {old!r}),
                migrations.AddIndex("post", EmbeddedIndex(fields=["title", "body"], model="hash:32", name={old!r})),
            ],
        ),
        AddEmbeddings("company", columns=["name"], model="hash:8"),
    ]
"""
    )
    printed = project.manage(*"makemigrations blog then migrate --plan then migrate -v0".split())
    assert "No changes detected" in printed and "Add embeddings to company" in printed
    assert (
        project.statuses()[old].model == "hash:64" and project.statuses()[old].pending == 1
    )  # until sync has it
    project.manage("vss_sync", "-v0")
    assert (project.statuses()[old].model, project.statuses()["blog_company"].model) == ("hash:32", "hash:8")
    project.manage("migrate", "blog", "0001", "-v0")
    assert project.statuses()[old].model == "hash:64" and "blog_company" not in project.statuses()
    assert "1 row, 0 texts embedded" in project.manage("vss_sync")


def test_the_operation_describes_and_writes_itself() -> None:
    from django.db.migrations.writer import OperationWriter

    from vssnative.integrations.django import AddEmbeddings, ChangeModel

    text, imports = OperationWriter(
        AddEmbeddings("Post", columns=["title"], chunk=9), indentation=0
    ).serialize()
    assert imports == {"import vssnative.integrations.django"}
    assert text.startswith("vssnative.integrations.django.AddEmbeddings(")
    assert (
        "columns=['title']" in text.replace("\n        ", "").replace(",\n    ]", "]") and "chunk=9" in text
    )
    text, _ = OperationWriter(ChangeModel("posts", {"model": "a"}, {"model": "b"}), indentation=0).serialize()
    assert "ChangeModel(" in text


def test_commands_and_checks_at_work(project: Project) -> None:
    project.manage(*"check then migrate -v0".split())
    project.sql("insert into blog_post('the title', body) values ('zebra', 'stripes')")
    printed = project.manage("check", "--database", "default")
    assert "vssnative.W004" in printed and "1 row is waiting" in printed and "manage.py vss_sync" in printed
    assert re.search(r"blog_post +hash:64 +0 +1 +0", project.manage("vss_status"))
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "vss_worker", "--poll", "0.05"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while any(one.pending for one in project.statuses().values()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        worker.send_signal(signal.SIGTERM)
        printed, _ = worker.communicate(timeout=60)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == 0 and "Quit with CONTROL-C" in printed
    assert project.manage("check", "--database", "default").count("vssnative.W") == 0
    for command in ("vss_sync", "vss_worker"):
        assert "no embeddings on 'x'" in project.manage(command, "x", fails=True)


def test_the_page(project: Project) -> None:
    """docs/django.md: its models, what it does with them, and its admin."""
    models, usage, admin = blocks("django.md")
    for old in ("migrations", "tests.py"):
        path = project.folder / "blog" / old
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (project.folder / "blog" / "models.py").write_text(models)
    (project.folder / "blog" / "admin.py").write_text(admin)
    project.manage(*"makemigrations blog then migrate -v0".split())
    printed = project.manage("shell", "-c", usage, "then", "check", "--database", "default")
    assert "Sourdough acme" in printed and "Rye bread other" in printed
