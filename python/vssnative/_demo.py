"""``vssnative demo``: the whole path on real texts that every machine has, the standard library's
docstrings."""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ._connection import Connection
    from ._search import Results

COLUMNS = ("title", "summary", "description")

_SCHEMA = """
create table if not exists posts(
  id integer primary key,
  company text not null,      -- the module
  title text not null unique, -- the qualified name
  summary text not null,      -- the docstring's first line
  description text,           -- the rest of it
  inserted_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ'))
)
"""

# A row that has not changed is not touched, so no trigger fires and nothing is embedded again.
_UPSERT = """
insert into posts(company, title, summary, description) values (?, ?, ?, ?)
on conflict(title) do update set
  company = excluded.company, summary = excluded.summary, description = excluded.description,
  updated_at = strftime('%Y-%m-%dT%H:%M:%fZ')
where company is not excluded.company or summary is not excluded.summary
  or description is not excluded.description
"""

_SKIPPED_FOLDERS = {
    "__pycache__",
    "dist-packages",
    "ensurepip",
    "idle_test",
    "idlelib",
    "lib-dynload",
    "lib2to3",
    "site-packages",
    "test",
    "tests",
    "turtledemo",
}


@dataclass(frozen=True, slots=True)
class Post:
    """A docstring as a row of ``posts``."""

    company: str
    title: str
    summary: str
    description: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """One search of the demo."""

    text: str
    where: str | None = None
    params: tuple[str, ...] = ()


QUESTIONS = (
    Question("parse a date from text"),
    Question("execute a command in a subprocess"),
    Question("most frequent elements of a list"),
    Question("delete a directory and everything in it"),
    Question("get rid of a folder", where="company = ?", params=("shutil",)),
)


def collect_posts(root: Path | None = None) -> Iterator[Post]:
    """Docstrings of public modules, classes and functions, by parsing the sources: nothing is imported or
    run.

    Args:
        root: folder of a library's sources; the running Python's standard library if None.
    """
    folder = Path(sysconfig.get_path("stdlib")) if root is None else root
    seen: set[str] = set()
    for path in sorted(folder.rglob("*.py")):
        module = _module_name(path.relative_to(folder))
        if module is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in other people's sources
                tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for title, docstring in _docstrings(tree, module):
            if title not in seen:
                seen.add(title)
                summary, _, rest = docstring.strip().partition("\n")
                yield Post(module, title, summary.strip(), rest.strip() or None)


def _module_name(path: Path) -> str | None:
    """``email/utils.py`` is ``email.utils``, ``_pydatetime.py`` stands for ``datetime``; None: not for the
    demo."""
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    if not parts or any(part in _SKIPPED_FOLDERS or part.startswith("config-") for part in parts):
        return None
    parts = [part.removeprefix("_py") for part in parts]
    return None if any(part.startswith("_") for part in parts) else ".".join(parts)


_Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _docstrings(node: ast.Module | _Definition, name: str) -> Iterator[tuple[str, str]]:
    docstring = ast.get_docstring(node)
    if docstring and docstring.strip():
        yield name, docstring
    for child in _definitions(node):
        if not child.name.startswith("_"):
            yield from _docstrings(child, f"{name}.{child.name}")


def _definitions(node: ast.AST) -> Iterator[_Definition]:
    """Classes and functions in a body, also under ``if`` and ``try``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            yield child
        elif isinstance(child, ast.If | ast.Try | ast.ExceptHandler):
            yield from _definitions(child)


def fill_posts(conn: Connection) -> int:
    """Bring ``posts`` up to date with this Python's docstrings, in one transaction; returns the number of
    rows."""
    from ._connection import execute, transaction

    source = f"{sysconfig.get_path('stdlib')} {sys.version}"
    with transaction(conn):
        execute(conn, _SCHEMA)
        execute(conn, "create table if not exists posts_source(python text not null)")
        if execute(conn, "select python from posts_source") != [(source,)]:
            for post in collect_posts():
                execute(conn, _UPSERT, (post.company, post.title, post.summary, post.description))
            execute(conn, "delete from posts_source")
            execute(conn, "insert into posts_source values (?)", [source])
        [(count,)] = execute(conn, "select count(*) from posts")
    return int(count)


@dataclass(frozen=True, slots=True)
class Filled:
    """The docstrings are rows now."""

    rows: int


@dataclass(frozen=True, slots=True)
class Synced:
    """The rows have vectors now: of so many texts, that many seconds after the beginning."""

    texts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found, and the seconds that it took."""

    question: Question
    hits: Results
    seconds: float


Step: TypeAlias = Filled | Synced | Answer


def run(
    path: str | os.PathLike[str], query: str | None, model: str = "minilm", *, progress: bool = True
) -> Iterator[Step]:
    """The demo itself: fill, embed, search. Each step is told when it is done.

    Args:
        path: the database file, made where it does not exist; a second run goes on with what is there.
        query: a question to answer instead of the five prepared ones.
        model: name of the embedding model.
        progress: show a bar while texts are embedded.

    Raises:
        VssError: with a sentence for the user.
    """
    from ._connection import connect
    from ._search import search
    from ._sync import status, sync
    from .migrations import add_embeddings

    with contextlib.closing(connect(path)) as conn:
        started = time.monotonic()
        yield Filled(fill_posts(conn))
        add_embeddings(conn, "posts", columns=list(COLUMNS), model=model)
        pending = any(one.pending for one in status(conn, "posts"))
        result = sync(conn, progress=progress and pending)
        yield Synced(result.texts, time.monotonic() - started)
        for question in QUESTIONS if query is None else (Question(query),):
            asked = time.perf_counter()
            hits = search(
                conn, "posts", question.text, k=5, where=question.where, params=list(question.params)
            )
            yield Answer(question, hits, time.perf_counter() - asked)
