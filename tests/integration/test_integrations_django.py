"""Django, in a process of its own, because its settings are global to one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

FILES = {
    "blog/__init__.py": "",
    "blog/models.py": """
        from django.db import models

        class Post(models.Model):
            title = models.CharField(max_length=100, db_column="the title")
            body = models.TextField(null=True)

        class Note(models.Model):
            slug = models.CharField(max_length=20, primary_key=True)
            body = models.TextField()
    """,
    "blog/migrations/__init__.py": "",
    "blog/migrations/0001_initial.py": """
        from django.db import migrations, models
        from vssnative.integrations.django import AddEmbeddings

        class Migration(migrations.Migration):
            initial = True
            dependencies = []
            operations = [
                migrations.CreateModel("Post", fields=[
                    ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                    ("title", models.CharField(max_length=100, db_column="the title")),
                    ("body", models.TextField(null=True)),
                ]),
                migrations.CreateModel("Note", fields=[
                    ("slug", models.CharField(max_length=20, primary_key=True, serialize=False)),
                    ("body", models.TextField()),
                ]),
                AddEmbeddings("Post", columns=["title", "body"], model="hash:64"),
                AddEmbeddings("Note", template="{slug}: {body}", model="hash:64"),
            ]
    """,
    "blog/migrations/0002_rebuild.py": """
        from django.db import migrations, models

        class Migration(migrations.Migration):
            dependencies = [("blog", "0001_initial")]
            operations = [
                migrations.AlterField("Post", "body", models.TextField(null=True, default="x")),
                migrations.AlterField("Post", "title", models.CharField(max_length=99, db_column="the title", unique=True)),
            ]
    """,
    "run.py": """
        import sys
        import django
        from django.conf import settings

        settings.configure(
            INSTALLED_APPS=["blog", "vssnative.integrations.django"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            USE_TZ=True,
        )
        django.setup()
        from django.core.management import call_command
        from django.db import connection, transaction
        import vssnative
        from blog.models import Note, Post
        from vssnative.integrations.django import search

        call_command("migrate", "blog", "0001", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("select vss_version()")
            assert cursor.fetchone() == ("v" + vssnative.__version__,)
        Post.objects.bulk_create(Post(title=f"title {n}", body=f"body word{n}") for n in range(20))
        Note.objects.bulk_create(Note(slug=f"s{n}", body=f"note word{n}") for n in range(5))
        assert vssnative.sync(connection).rows == 25
        [found] = search(Post, "body word7", k=1)
        assert found == Post.objects.get(title="title 7") and found.vss_distance < 0.01
        [note] = search(Note, "s3: note word3", k=1)
        assert note.slug == "s3" and note.vss_result.rank == 1
        from django.db.models import Q
        some = search(Post, "body word7", k=20, where=Q(title__in=["title 3", "title 5%"]) | Q(pk__lt=3))
        assert {one.title for one in some} == {"title 0", "title 1", "title 3"}, some
        with transaction.atomic():  # as in a TestCase
            Post.objects.create(title="in a test", body="zebra")
            assert vssnative.sync(connection, within=True).rows == 1
            assert search(Post, "zebra", k=1)[0].title == "in a test"
            transaction.set_rollback(True)
        with transaction.atomic():
            Post.objects.filter(pk=found.pk).update(body="other")
            assert search(Post, "body word7", k=1)[0].vss_result.stale
            transaction.set_rollback(True)
        call_command("migrate", "blog", "0002", verbosity=0)
        [status, _] = vssnative.status(connection)
        assert "triggers" in status.problem, status
        assert vssnative.sync(connection).texts == 0
        Post.objects.filter(title="title 3").update(body="seen again")
        assert vssnative.sync(connection).rows == 1
        call_command("migrate", "blog", "zero", verbosity=0)
        assert vssnative.status(connection) == []
        connection.close()
        print("all well")
    """,
}


def test_a_project_of_django(tmp_path: Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-W", "error", "run.py", "app.db"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("all well\n", 0), done.stderr


def test_the_operation_describes_and_writes_itself() -> None:
    from django.db.migrations.writer import OperationWriter

    from vssnative.integrations.django import AddEmbeddings

    operation = AddEmbeddings("Post", columns=["title"], model="minilm")
    assert operation.describe() == "Add embeddings to Post"
    text, imports = OperationWriter(operation, indentation=0).serialize()
    assert "AddEmbeddings(" in text and "import vssnative.integrations.django" in imports
