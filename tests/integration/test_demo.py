"""The demo: docstrings become rows, rows become vectors once, questions get answers."""

from __future__ import annotations

import contextlib
import io
import itertools
import sqlite3
import sysconfig
from pathlib import Path

import pytest
from rich.console import Console

from vssnative import _demo as demo
from vssnative._cli.machine import shown_step

SOURCES = {
    "dates.py": '"""Dates and times.\n\nParse and format them."""\ndef parse(text):\n    """Parse a date from text."""\n',
    "net/__init__.py": '"""Sockets."""\nimport dates_that_do_not_exist\nraise SystemExit\n',
    "net/mail.py": (
        '"""Mail."""\n'
        "class Box:\n"
        '    """A box.\n\n    It holds letters.\n    """\n'
        "    async def open(self):\n"
        '        """Open the box."""\n'
        "    def _hidden(self):\n"
        '        """Not for you."""\n'
        "try:\n"
        "    import fast\n"
        "except ImportError:\n"
        "    def slow():\n"
        '        """Take your time."""\n'
        "else:\n"
        "    def slow():\n"
        '        """Defined twice."""\n'
    ),
    "_private.py": '"""Private."""\n',
    "_pyclock.py": '"""Clocks, in Python."""\n',
    "broken.py": "def (:\n",
    "test/test_it.py": '"""A test."""\n',
    "strange.py": '"""Escapes \\d that warn."""\n',
    "empty.py": '"""   """\n',
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "lib"
    for name, text in SOURCES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))
    return root


def test_docstrings_are_read_without_importing_anything(library: Path) -> None:
    assert [(post.company, post.title, post.summary, post.description) for post in demo.collect_posts()] == [
        ("clock", "clock", "Clocks, in Python.", None),
        ("dates", "dates", "Dates and times.", "Parse and format them."),
        ("dates", "dates.parse", "Parse a date from text.", None),
        ("net", "net", "Sockets.", None),
        ("net.mail", "net.mail", "Mail.", None),
        ("net.mail", "net.mail.Box", "A box.", "It holds letters."),
        ("net.mail", "net.mail.Box.open", "Open the box.", None),
        ("net.mail", "net.mail.slow", "Take your time.", None),
        ("strange", "strange", "Escapes \\d that warn.", None),
    ]


def test_this_pythons_own_library_is_read() -> None:
    posts = list(itertools.islice(demo.collect_posts(), 300))
    assert len({post.title for post in posts}) == 300
    assert all(post.summary for post in posts)
    assert {"argparse", "argparse.ArgumentParser"} <= {post.title for post in posts}


def answers(path: Path, query: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=160)
    for step in demo.run(path, query, "hash:64", progress=False):
        console.print(shown_step(path, step, console.width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_answers_five_questions_and_one_of_yours(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "demo.db"
    output = answers(path)
    for question in demo.QUESTIONS:
        assert question.text in output
    assert "9 docstrings" in output and "where company = 'shutil'" in output
    output = answers(path, "dates.parse")
    assert output.count("rank") == 1 and "Parse a date from text." in output


def test_run_again_it_embeds_only_what_changed(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "demo.db"
    answers(path)

    def state() -> tuple[list[tuple[object, ...]], int]:
        with contextlib.closing(sqlite3.connect(path)) as conn:
            rows = conn.execute("select * from posts order by id").fetchall()
            [(waiting,)] = conn.execute("select count(*) from vssnative_queue").fetchall()
            return rows, waiting

    before = state()
    answers(path, "clock")
    assert state() == before
    assert before[1] == 0


def test_another_python_brings_its_own_docstrings(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "demo.db"
    answers(path, "clock")
    (library / "dates.py").write_text('"""Dates only."""\n')
    monkeypatch.setattr(demo.sys, "version", "another")
    answers(path, "clock")
    with contextlib.closing(sqlite3.connect(path)) as conn:
        rows = conn.execute(
            "select title, summary, updated_at > inserted_at from posts where company = 'dates'"
        )
        assert rows.fetchall() == [("dates", "Dates only.", 1), ("dates.parse", "Parse a date from text.", 0)]
