"""How commands fail: what is wrong with the command line is 2, what failed is 1, each as a sentence that names the file."""

from __future__ import annotations

import ast
import contextlib
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

import vssnative
from vssnative import _cli as cli
from vssnative import errors
from vssnative._advice import Advice, command

Run = Callable[..., Result]
PACKAGE = Path(vssnative.__file__).parent


def _commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(group, "commands", {}).items():
        yield from _commands(inner, *path, name)
    if path and not hasattr(group, "commands"):
        yield path, group


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))
# What stands for an argument, by its name in the function.
_ARGUMENTS = {
    "table": "posts",
    "query": "words",
    "file": "x.csv",
    "model": "hash:8",
    "url": "http://127.0.0.1:9/v1",
    "name": "minilm",
    "version": "1",
    "shards": "2",
    "column": "title",
}
WITH_FILE = [
    path
    for path, found in COMMANDS.items()
    if any(parameter.name == "database" for parameter in found.params)
]
MAKING = {("import",), ("index", "add"), ("demo",)}


def _line(path: tuple[str, ...], **given: object) -> list[str]:
    """A command with all that it must be given."""
    line = list(path)
    for parameter in COMMANDS[path].params:
        if parameter.name in given:
            value = str(given[parameter.name])
            line += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
        elif parameter.required and parameter.param_type_name == "argument":
            line.append(_ARGUMENTS[parameter.name])
    return line


@pytest.fixture
def run() -> Run:
    def run_(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run_


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    path = tmp_path / "blog.db"
    with contextlib.closing(vssnative.connect(path, wal=False)) as conn:
        conn.execute("create table posts(id integer primary key, title text)")
        conn.executemany("insert into posts(title) values (?)", [("apples",), ("bolts",)])
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["title"], model="hash:8")
        vssnative.sync(conn)
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, object]:
    """Files to read, which are in order."""
    np.save(tmp_path / "m.npy", np.eye(4, dtype=np.float32))
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    return {"matrix": tmp_path / "m.npy", "queries": tmp_path / "m.npy", "file": tmp_path / "x.csv"}


# --- every command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_an_unknown_option_is_a_usage_error(run: Run, path: tuple[str, ...]) -> None:
    result = run(*path, "--nonsense", code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and "--nonsense" in result.stderr.splitlines()[0]
    assert (
        result.stderr.splitlines()[1:] == [f"see: vssnative {' '.join(path)} --help"]
        or "root" in result.stderr
    )


@pytest.mark.parametrize(
    "path", [path for path, found in COMMANDS.items() if any(p.required for p in found.params)], ids=" ".join
)
def test_a_missing_argument_is_a_usage_error(run: Run, path: tuple[str, ...]) -> None:
    assert run(*path, code=2).stderr.startswith("error: Missing ")


@pytest.mark.parametrize("path", WITH_FILE, ids=" ".join)
def test_a_file_that_is_not_there_is_named_and_not_made(
    run: Run, tmp_path: Path, inputs: dict[str, object], path: tuple[str, ...]
) -> None:
    if path in MAKING:
        where = tmp_path / "none" / "x.db"
        said = run(*_line(path, database=where, **inputs), code=2).stderr
        assert said == f"error: {where}: there is no directory {where.parent} to make it in\n"
        return
    before = sorted(tmp_path.iterdir())
    said = run(*_line(path, database=tmp_path / "none.db", **inputs), code=2).stderr
    assert said == f"error: {tmp_path / 'none.db'}: there is no such file\n"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("path", WITH_FILE, ids=" ".join)
def test_a_directory_an_empty_name_and_junk_are_one_sentence(
    run: Run, tmp_path: Path, inputs: dict[str, object], path: tuple[str, ...]
) -> None:
    junk = tmp_path / "junk.db"
    junk.write_text("hello")
    for name, words in (
        ("", "expected the name of a file, got an empty one"),
        (str(tmp_path), f"{tmp_path} is a directory, expected a file"),
        (str(junk), f"{junk} is not an SQLite database"),
    ):
        if path == ("doctor",) and name == str(junk):
            continue  # to look into such a file is its work
        assert run(*_line(path, database=name, **inputs), code=2).stderr == f"error: {words}\n"
    assert junk.read_text() == "hello"


@pytest.mark.parametrize(
    "path",
    [
        path
        for path, found in COMMANDS.items()
        if path in WITH_FILE and any(p.name == "table" for p in found.params)
    ],
    ids=" ".join,
)
def test_an_unknown_table_is_a_usage_error(
    run: Run, posts: Path, inputs: dict[str, object], path: tuple[str, ...]
) -> None:
    if path in MAKING:  # they make the table, too
        return
    more = {("add-embeddings",): ["-c", "title", "--model", "hash:8"], ("change-model",): ["hash:4"]}.get(
        path, []
    )
    result = run(*_line(path, database=posts, table="nothing", **inputs), *more, code=2)
    assert result.stderr.startswith("error: ") and "nothing" in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "{db}", "posts", "x", "-k", "0"),
        ("search", "{db}", "posts", "x", "-k", "many"),
        ("search", "{db}", "posts", "x", "--mode", "none"),
        ("search", "{db}", "posts", "x", "--recall", "2"),
        ("search", "{db}", "posts", "x", "--offset", "-1"),
        ("search", "{db}", "posts", "x", "--where", "nothing = 1"),
        ("search", "{db}", "posts", "x", "--select", "nothing"),
        ("search", "{db}", "posts", ""),
        ("search", "{db}", "posts", "x", "--where", "id = ?", "-p", "9" * 30),
        ("sync", "{db}", "posts", "--limit", "-1"),
        ("sync", "{db}", "--where", "id = 1"),
        ("worker", "{db}", "--rate-limit", "-1"),
        ("change-model", "{db}", "posts"),
        ("change-model", "{db}", "posts", "nosuch"),
        ("add-embeddings", "{db}", "posts", "-c", "title", "--name", "two", "--model", "nosuch"),
        ("add-embeddings", "{db}", "posts", "-c", "title", "--template", "{{title}}", "--name", "two"),
        ("export", "{db}", "posts", "-"),
        ("export", "{db}", "posts", "posts.xyz"),
        ("export", "{db}", "posts", "{dir}/none/posts.csv"),
        ("export", "{db}", "posts", "{dir}", "--format", "csv"),
        ("index", "search", "{db}", "{dir}/m.npy", "--output", "{dir}/none/out.npz"),
        ("import", "{db}", "posts", "{dir}/none.csv"),
        ("import", "{db}", "posts", "{dir}/x.csv", "--format", "xyz"),
        ("index", "search", "{db}", "{dir}/none.npy"),
        ("index", "add", "{db}", "{dir}/m.npy", "--metric", "nothing"),
        ("stats", "{db}", "posts", "nothing"),
        ("model", "remove", "nosuch"),
        ("model", "import", "nosuch"),
        ("model", "pull", "nosuch"),
        ("shards", "status", "{dir}/none"),
        ("nosuch",),
    ],
    ids=" ".join,
)
def test_what_was_typed_is_2(
    run: Run, posts: Path, inputs: dict[str, object], arguments: tuple[str, ...]
) -> None:
    result = run(*(one.format(db=posts, dir=posts.parent) for one in arguments), code=2)
    assert result.stderr.startswith("error: ") and result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel-change", "{db}", "posts"),
        ("switch", "{db}", "posts"),
        ("rollback-model", "{db}", "posts"),
        ("change-model", "{db}", "posts", "hash:8"),
        ("change-server", "{db}", "posts", "http://127.0.0.1:9/v1"),
        ("add-embeddings", "{db}", "posts", "-c", "title", "--model", "hash:16"),
        ("import", "{db}", "posts", "{dir}/bad.csv"),
        ("import", "{db}", "posts", "{dir}/x.csv"),
        ("index", "add", "{db}", "{dir}/m.npy", "--ids", "{dir}/twice.npy"),
    ],
    ids=" ".join,
)
def test_what_could_not_be_done_is_1(
    run: Run, posts: Path, inputs: dict[str, object], arguments: tuple[str, ...]
) -> None:
    (posts.parent / "bad.csv").write_text("id,title\n1\n")
    np.save(posts.parent / "twice.npy", np.array([1, 1, 2, 3]))
    result = run(*(one.format(db=posts, dir=posts.parent) for one in arguments), code=1)
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and result.stdout == ""


# --- files that are made --------------------------------------------------------------------------------------------


def test_import_makes_a_file_and_takes_it_back_where_it_fails(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n1\n")
    run("import", tmp_path / "bad.db", "t", tmp_path / "bad.csv", code=1)
    run("import", tmp_path / "none.db", "t", tmp_path / "none.csv", code=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.csv", "x.csv"]
    run("import", tmp_path / "x.db", "t", tmp_path / "x.csv")
    run("import", tmp_path / "x.db", "u", tmp_path / "bad.csv", code=1)
    assert "1 row\n" in run("export", tmp_path / "x.db", "t", tmp_path / "t.jsonl").stdout


def test_a_file_with_a_table_is_never_taken_back(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.eye(4, dtype=np.float32))
    np.save(tmp_path / "nan.npy", np.full((2, 4), np.nan, np.float32))
    run("index", "add", tmp_path / "v.db", tmp_path / "nan.npy", code=1)
    assert not (tmp_path / "v.db").exists()
    run("index", "add", tmp_path / "v.db", tmp_path / "m.npy")
    run("index", "add", tmp_path / "v.db", tmp_path / "nan.npy", code=1)
    assert "4" in run("info", tmp_path / "v.db").stdout


# --- SQLite's words -------------------------------------------------------------------------------------------------


def test_a_locked_file_is_named(run: Run, posts: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("title\nz\n")
    with contextlib.closing(sqlite3.connect(posts, isolation_level=None)) as conn:
        conn.execute("pragma locking_mode = exclusive")
        conn.execute("begin exclusive")
        for arguments in (("search", posts, "posts", "x"), ("import", posts, "posts", tmp_path / "x.csv")):
            said = run(*arguments, code=1).stderr
            assert said == (
                f"error: {posts} is locked: another program is writing to it; try again when that is done\n"
            )


def test_constraints_tell_the_file_and_the_column(run: Run, tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    with contextlib.closing(sqlite3.connect(db)) as conn:
        conn.execute(
            "create table t(id integer primary key, a text unique, b text not null check (b <> 'no'))"
        )
        conn.execute("insert into t values (1, 'x', 'y')")
        conn.commit()
    for row, words in (
        ('{"id": 1, "b": "y"}', "a row with the same t.id is there already"),
        ('{"id": 2, "a": "x", "b": "y"}', "a row with the same t.a is there already"),
        ('{"id": 3, "b": null}', "a row has nothing for t.b"),
        ('{"id": 4, "b": "no"}', "a row breaks the table's own condition b <> 'no'"),
        ('{"id": "x", "b": "y"}', "a value is not of the kind that its column takes"),
    ):
        (tmp_path / "t.jsonl").write_text(row + "\n")
        said = run("import", db, "t", tmp_path / "t.jsonl", code=1).stderr
        assert said.startswith(f"error: {db}: {words}") and "no row was written" in said
        assert said.count("\n") == 1 and "constraint failed" not in said


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("attempt to write a readonly database", "{db} cannot be written: you need the right to write to it"),
        ("disk I/O error", "{db} cannot be read or written (disk I/O error)"),
        ("database or disk is full", "{db} cannot grow, the disk is full"),
        ("unable to open database file", "{db} cannot be opened"),
        (
            "database disk image is malformed",
            "{db} is damaged (database disk image is malformed): vssnative check {db}",
        ),
        ("something else", "{db}: something else"),
    ],
)
def test_words_of_sqlite_become_a_sentence_about_the_file(
    run: Run, posts: Path, monkeypatch: pytest.MonkeyPatch, said: str, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError(said)

    monkeypatch.setattr("vssnative._sync.status", fail)
    result = run("status", posts, code=1)
    assert result.stderr.startswith("error: " + words.format(db=posts))
    assert result.stderr.count("\n") == 1

    # Also where the library has wrapped it, as searches do; a statement's own fault stays 2.
    def wrap(*_: object, **__: object) -> None:
        raise errors.QueryError(f"search of posts: {said}") from sqlite3.OperationalError(said)

    monkeypatch.setattr("vssnative._sync.status", wrap)
    if said != "something else":
        assert run("status", posts, code=1).stderr == result.stderr
    else:
        assert run("status", posts, code=2).stderr == "error: search of posts: something else\n"


def test_a_damaged_file_is_named(run: Run, posts: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    shutil.copy(posts, damaged)
    with damaged.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff" * 3000)
    said = run("export", damaged, "posts", tmp_path / "out.csv", code=1).stderr
    assert said.startswith(f"error: {damaged} is damaged") and "vssnative check" in said


# --- advice ---------------------------------------------------------------------------------------------------------


def test_an_error_has_two_wordings() -> None:
    advice = Advice("call mend(conn)", f"{command('repair', 'my table')} mends it")
    for cls in (
        errors.MigrationError,
        errors.ExtensionLoadError,
        errors.ShardError,
        errors.MissingDependencyError,
    ):
        error = cls("it is broken", advice=advice)  # type: ignore[call-arg]
        assert str(error) == "it is broken; call mend(conn)"
        assert (
            error.in_shell("my blog.db") == "it is broken; vssnative repair 'my blog.db' 'my table' mends it"
        )
        assert error.in_shell() == "it is broken; vssnative repair FILE 'my table' mends it"
    assert errors.SyncError("plain").in_shell("x.db") == str(errors.SyncError("plain")) == "plain"


def test_advice_names_commands(run: Run, posts: Path) -> None:
    def said(*arguments: object, code: int) -> str:
        return run(*arguments, code=code).stderr

    assert f"vssnative add-embeddings {posts} nothing -c COLUMN" in said(
        "search", posts, "nothing", "x", code=2
    )
    assert "-p VALUE" in said("search", posts, "posts", "x", "--where", "id = ?", code=2)
    assert "-p VALUE" in said("search", posts, "posts", "x", "--where", "id = :id", code=2)
    assert "--full-text" in said("search", posts, "posts", "x", "--mode", "text", code=2)
    assert f"vssnative change-model {posts} posts" in said(
        "add-embeddings", posts, "posts", "-c", "title", "--model", "hash:16", code=1
    )
    run("change-model", posts, "posts", "hash:16")
    assert f"vssnative cancel-change {posts} posts" in said("change-model", posts, "posts", "hash:4", code=1)
    assert f"vssnative cancel-change {posts} posts" in said("rollback-model", posts, "posts", code=1)
    assert f"vssnative sync {posts} first, or --force" in said("switch", posts, "posts", code=1)
    with contextlib.closing(sqlite3.connect(posts)) as conn:
        conn.execute("create table later(id integer primary key, title text)")
        conn.execute("insert into later(title) values ('x')")
        conn.commit()
    run("add-embeddings", posts, "later", "-c", "title", "--model", "hash:8")
    assert f"vssnative sync {posts} embeds them" in run("search", posts, "later", "x").stderr


# A call, an option with =, or a name of the package: words that only Python's callers can use.
_PYTHON = re.compile(
    r"vssnative\.[a-z_]+|\b[a-z]+_[a-z_]+\(|\b[a-z_]+\((conn|\.\.\.|['\"])|\b[a-z_]+=(True|False|\.\.\.|\[|'\w+')"
)
# What no command reaches: other worlds' connections and values, the user's own migration steps, services and objects
# that only a program can make. The lines are parts of messages.
_UNREACHABLE_FILES = {
    "aio.py",
    "integrations",
    "service.py",
    "pool.py",
    "drivers.py",
    "steps.py",
    "values.py",
    "rebuilt.py",
}
_UNREACHABLE = (
    "within=True",  # sync inside of a transaction
    "autocommit=",
    "search(fresh=True)",
    "vssnative.load do it",  # a connection that another program has opened
    "store=",  # no command asks for columns of vectors
    "a Django Q",
    "for index='faiss'",
    "gets one only by api_key",
    "call ids.",
    "(embedder=... of",  # says itself whose words these are
    ".filled(",  # a file holds no masked array
    "vss_embed: ",  # what a function of SQL says to those who write SQL
    "has no such tokenizer",  # no command chooses one
    "immutable=True",  # no command opens a file so
)


def _messages() -> Iterator[tuple[str, str, bool]]:
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if _UNREACHABLE_FILES & set(place.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
                continue
            if node.func.id in classes:
                advised = any(keyword.arg == "advice" for keyword in node.keywords)
                texts = [
                    n.value
                    for n in ast.walk(node.args[0])
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
                yield f"{place}:{node.lineno}", "".join(texts), advised


def test_no_message_that_a_command_can_show_speaks_python() -> None:
    found = list(_messages())
    assert len(found) > 300 and sum(advised for *_, advised in found) > 15
    wrong = [
        f"{place}: {text}"
        for place, text, _ in found
        if _PYTHON.search(text) and not any(part in text for part in _UNREACHABLE)
    ]
    assert wrong == []


def test_shell_advice_names_commands_that_exist() -> None:
    known = {path[0] for path in COMMANDS}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "command":
                assert isinstance(node.args[0], ast.Constant) and node.args[0].value in known, path
