"""SQLite's short words, where they come out of operations of ours: which file, why, and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import vssnative
from vssnative import Index, aio
from vssnative._cli import app
from vssnative._connection import driver_error, execute, explained, is_busy
from vssnative._connection.sqlite_errors import _MEANINGS, _Meaning, explain, is_corrupt
from vssnative._doctor import diagnose
from vssnative.errors import ConnectionSetupError, MigrationError
from vssnative.migrations import Step, upgrade

OPERATIONS: dict[str, Callable[[Any], object]] = {
    "Index.add": lambda conn: Index(conn).add([7], [[1.0, 2.0]]),
    "Index.remove": lambda conn: Index(conn).remove([1]),
    "add_embeddings": lambda conn: vssnative.add_embeddings(
        conn, "posts", ["title"], model="hash:8", name="b"
    ),
    "drop_embeddings": lambda conn: vssnative.drop_embeddings(conn, "posts"),
    "change_model": lambda conn: vssnative.change_model(conn, "posts", "hash:16"),
    "upgrade": lambda conn: upgrade(conn, [Step("1", "create table made(x)")]),
    "set_cache_limit": lambda conn: vssnative.set_cache_limit(conn, 7),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "posts.db"
    conn = vssnative.connect(path)
    conn.execute("create table posts(id integer primary key, title text)")
    conn.execute("insert into posts(title) values ('red fruit'), ('fast cars')")
    conn.commit()
    vssnative.add_embeddings(conn, "posts", ["title"], model="hash:8")
    vssnative.sync(conn)
    Index(conn).add([1], [[1.0, 2.0]])
    conn.commit()
    conn.close()
    return path


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("driver", ["sqlite3", "apsw", "pysqlite3"])
def test_a_lock_names_the_file_and_stays_the_drivers_error(file: Path, driver: str, operation: str) -> None:
    module = importlib.import_module(driver)
    conn = vssnative.connect(file, timeout=0.0, driver=module)
    # Of the same library: the locks of two in one process do not know each other.
    holder = vssnative.connect(file, driver=module)
    holder.cursor().execute("begin immediate")
    classes = getattr(module, "OperationalError", None) or module.BusyError
    with pytest.raises(classes, match=r"posts\.db: .*locked: another connection.* timeout=60") as raised:
        OPERATIONS[operation](conn)
    assert is_busy(raised.value) and isinstance(raised.value.__cause__, driver_error(conn))
    assert str(raised.value.__cause__) in str(raised.value)
    holder.close()
    conn.close()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_connection_that_only_reads_says_so(file: Path, operation: str) -> None:
    conn = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    vssnative.load(conn)
    errors = (sqlite3.OperationalError, MigrationError)  # a step's own error
    with pytest.raises(errors, match=r"posts\.db: .*readonly.* opened to read only"):
        OPERATIONS[operation](conn)
    conn.rollback()
    conn.execute("pragma query_only = 1")
    with pytest.raises(errors, match="pragma query_only"):
        OPERATIONS[operation](conn)
    conn.close()


def test_what_opens_the_file_itself_tells_too(file: Path) -> None:
    pool = vssnative.Pool(file, timeout=0.0)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("begin immediate")
    locked = pytest.raises(sqlite3.OperationalError, match=r"posts\.db: database is locked: another")
    with locked, pool.transaction():
        pass
    with contextlib.suppress(ImportError):
        from vssnative.integrations.langchain import VssEmbeddings, VssVectorStore

        store = VssVectorStore(pool, VssEmbeddings("hash:8"))
        with locked:
            store.add_texts(["x"])
        with locked:
            asyncio.run(store.aadd_texts(["x"]))
    pool.close()
    holder.execute("rollback")
    holder.execute("pragma journal_mode = delete")
    holder.execute("begin exclusive")
    with locked:
        vssnative.connect(file, timeout=0.0)
    holder.close()


def test_sync_tells_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vssnative._sync import locking

    conn = vssnative.connect(file, timeout=0.0)
    conn.execute("insert into posts(title) values ('new')")
    conn.commit()
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("begin immediate")
    monkeypatch.setattr(locking, "_PATIENCE_SECONDS", 0.05)
    with pytest.raises(sqlite3.OperationalError, match=r"posts\.db: database is locked: another"):
        vssnative.sync(conn)
    with pytest.raises(sqlite3.OperationalError, match=r"posts\.db: database is locked: another"):
        vssnative.Worker(lambda: vssnative.connect(file, timeout=0.0)).run()
    holder.close()
    conn.close()


def test_a_constraint_of_the_users_own_is_told_with_its_file(file: Path) -> None:
    conn = vssnative.connect(file)
    vssnative.drop_embeddings(conn, "posts")
    conn.execute(
        "create trigger mine before update on posts begin select raise(abort, 'posts are final'); end"
    )
    vssnative.add_embeddings(conn, "posts", ["title"], model="hash:8", store="column")
    with pytest.raises(
        sqlite3.IntegrityError, match=r"posts\.db: posts are final: .* nothing of this was kept"
    ):
        vssnative.sync(conn)
    conn.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("insert into t values (1, 'x', 'y', null)", "a row with the same t.id is there already"),
        ("insert into t values (2, 'a', 'y', null)", "a row with the same t.a is there already"),
        ("insert into t values (2, 'x', null, null)", "a row has nothing for t.b, which must have a value"),
        ("insert into t values (2, 'x', 'no', null)", "a row breaks the table's own condition b <> 'no'"),
        ("insert into t values (2, 'x', 'y', 7)", "a row refers to one that is not there"),
        ("insert into t values ('x', 'x', 'y', null)", "a value is not of the kind that its column takes"),
    ],
)
@pytest.mark.parametrize("driver", ["sqlite3", "apsw", "pysqlite3"])
def test_what_refused_a_row_is_told(tmp_path: Path, driver: str, statement: str, words: str) -> None:
    module = importlib.import_module(driver)
    conn = vssnative.connect(tmp_path / "c.db", driver=module)
    upgrade(
        conn,
        [
            Step(
                "1",
                "create table t(id integer primary key, a unique, b not null check (b <> 'no'), c references t(id));"
                " insert into t values (1, 'a', 'y', null)",
            )
        ],
    )
    conn.cursor().execute("pragma foreign_keys = 1")
    with pytest.raises(driver_error(conn)) as raised, explained(conn):
        execute(conn, statement)
    assert str(raised.value).startswith(f"{tmp_path / 'c.db'}: {raised.value.__cause__}: {words}")
    assert str(raised.value).endswith("; nothing of this was kept")
    conn.close()


@pytest.mark.parametrize("meaning", _MEANINGS, ids=lambda meaning: f"{meaning.code} {meaning.said}")
def test_each_meaning_has_both_wordings(meaning: _Meaning) -> None:
    said = (meaning.said or "database is locked").partition("|")[0].replace("(.*)", "t.{file}")
    error = sqlite3.OperationalError(said)
    error.sqlite_errorcode = meaning.code
    explanation = explain(error)
    assert explanation is not None and explanation.advice == meaning.advice
    python, shell = explanation.in_python("my file.db", "MORE"), explanation.in_shell("my file.db")
    assert shell.startswith("my file.db") and explanation.in_shell(None).startswith("the database")
    assert "vssnative check my" not in python + shell  # a command is to be typed as it stands
    for words in (python, shell):
        assert words and "{" not in words.replace("t.{file}", "")


@pytest.mark.parametrize("statement", ["insert into t values(1)", "select a from t", "select abs(1)"])
def test_what_an_authorizer_refuses_is_not_damage(statement: str) -> None:
    def authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
        refused = action == sqlite3.SQLITE_INSERT or second in ("a", "abs")
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    with contextlib.closing(sqlite3.connect(":memory:")) as conn:
        conn.execute("create table t(a)")
        conn.set_authorizer(authorize)
        with pytest.raises(sqlite3.Error) as refused:
            conn.execute(statement)
    assert not is_corrupt(refused.value)
    assert not is_corrupt(sqlite3.DatabaseError(str(refused.value)))  # as before Python 3.11, without a code


def test_damage_is_known_without_a_code(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"no database" * 500)
    with contextlib.closing(sqlite3.connect(tmp_path / "no.db")) as conn:
        with pytest.raises(sqlite3.DatabaseError) as raised:
            conn.execute("select * from sqlite_master")
    assert is_corrupt(raised.value) and is_corrupt(sqlite3.DatabaseError(str(raised.value)))
    assert is_corrupt(sqlite3.DatabaseError("database disk image is malformed"))


def test_a_snapshot_that_is_too_old_to_write(file: Path) -> None:
    conn, other = vssnative.connect(file), vssnative.connect(file)
    conn.execute("begin")
    conn.execute("select count(*) from posts").fetchall()
    other.execute("insert into posts(title) values ('meanwhile')")
    other.commit()
    with pytest.raises(
        sqlite3.OperationalError, match=r"posts\.db: .*locked: somebody else has written .* BEGIN IMMEDIATE"
    ):
        Index(conn).add([8], [[1.0, 2.0]])
    conn.close()
    other.close()


def test_steps_that_another_process_does_meanwhile_are_done_once(file: Path) -> None:
    """They were tried again, and failed with "table made already exists"."""
    begun, go_on = threading.Event(), threading.Event()

    def first(conn: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait(10)
        conn.execute("create table made(x)")

    steps = [Step("1", first), Step("2", "create table second(x)")]
    done: list[list[str]] = []
    conns = [vssnative.connect(file, timeout=30, check_same_thread=False) for _ in range(2)]
    threads = [threading.Thread(target=lambda conn=conn: done.append(upgrade(conn, steps))) for conn in conns]
    threads[0].start()
    begun.wait(10)
    threads[1].start()
    threading.Timer(0.3, go_on.set).start()
    for thread in threads:
        thread.join(30)
    assert sorted(name for names in done for name in names) == ["1", "2"]
    for conn in conns:
        conn.close()


@pytest.fixture
def unwritable(file: Path) -> Iterator[Path]:
    """A file in WAL mode in a directory that may not be written, and a process that is not root."""
    vssnative.search(conn := vssnative.connect(file), "posts", "x")  # what is imported late is imported now
    conn.close()
    diagnose()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(file, folder / "posts.db")
        (folder / "posts.db").chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder / "posts.db"
        finally:
            if user == 0:
                os.seteuid(0)
            folder.chmod(0o755)


@pytest.mark.parametrize("driver", ["sqlite3", "apsw", "pysqlite3"])
def test_a_wal_file_in_a_directory_that_may_not_be_written(unwritable: Path, driver: str) -> None:
    module = importlib.import_module(driver)
    advice = r"posts\.db: .*directory may not be written.*connect\(path, immutable=True\)"
    with pytest.raises((module.Error, ConnectionSetupError), match=advice) as raised:
        vssnative.connect(unwritable, driver=module)
    assert isinstance(raised.value.__cause__, module.Error)
    plain = module.Connection(str(unwritable)) if driver == "apsw" else module.connect(str(unwritable))
    with pytest.raises((module.Error, ConnectionSetupError), match=advice):
        vssnative.search(plain, "posts", "red fruit")
    plain.close()
    conn = vssnative.connect(unwritable, immutable=True, driver=module)
    assert vssnative.search(conn, "posts", "red fruit", k=1)[0].key == 1
    assert vssnative.verify(conn, "posts").ok and vssnative.status(conn)[0].coverage == 1.0
    queries = np.ones((300, 2), np.float32)
    assert Index(conn).search(queries, k=1)[0].tolist() == [[1]] * 300
    with pytest.raises(driver_error(conn), match="opened to read only|may not write"):
        Index(conn).add([9], [[1.0, 2.0]])
    conn.close()
    for name in ("-wal", "-shm"):
        assert not Path(f"{unwritable}{name}").exists()


def test_doctor_reports_all_else_of_a_file_it_cannot_open_as_usual(unwritable: Path) -> None:
    findings = {finding.subject: finding for finding in diagnose(unwritable)}
    assert findings["python"].state == "ok"
    assert (
        findings["database"].state == "note" and "directory may not be written" in findings["database"].found
    )
    assert "without locks" in (findings["database"].advice or "")
    said = f"{findings['database'].found} {findings['database'].advice}"
    assert "immutable" not in said and "vssnative." not in said  # the shell has no such option
    assert findings["table vss_posts"].found == "2 rows"


def test_doctor_reports_all_else_of_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but a text that is long enough" * 40)
    findings = {finding.subject: finding for finding in diagnose(tmp_path / "text.db")}
    assert findings["python"].state == "ok"
    assert findings["database"].state == "fault" and "no SQLite database" in findings["database"].found


def _vssnative(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_commands_that_read_work_where_nothing_may_be_written(unwritable: Path) -> None:
    note = (
        f"note: {unwritable} is in WAL mode in a folder that may not be written, so it is read without locks"
    )
    for arguments in (
        ("status",),
        ("info",),
        ("check",),
        ("verify", "posts"),
        ("search", "posts", "red fruit"),
    ):
        name, *rest = arguments
        done = _vssnative(name, unwritable, *rest)
        assert done.stderr.count(note) == 1 and done.stdout
    done = _vssnative("export", unwritable, "posts", "-", "--format", "csv")
    assert done.stdout.startswith("id,") and done.stdout.count("\n") == 3
    for name in ("-wal", "-shm"):
        assert not Path(f"{unwritable}{name}").exists()
    said = _vssnative("sync", unwritable, code=1).stderr
    assert said.startswith(f"error: {unwritable} cannot be written") and "note" not in said


def test_a_command_says_that_commits_lie_in_a_log_that_it_may_not_read(file: Path) -> None:
    conn = vssnative.connect(file)
    conn.execute("insert into posts(title) values ('in the log')")
    conn.commit()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for end in ("", "-wal"):
            shutil.copy(f"{file}{end}", folder / f"posts.db{end}")
        conn.close()
        _vssnative("status", file)  # what is imported late is imported now
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            said = _vssnative("status", folder / "posts.db", code=1).stderr
        finally:
            if user == 0:
                os.seteuid(0)
            folder.chmod(0o755)
    assert said.startswith(f"error: {folder / 'posts.db'} cannot be read: it is in WAL mode with commits in")
    assert "copy both files to a directory that may be written" in said


def test_commits_in_the_log_are_not_left_out_in_silence(file: Path, tmp_path: Path) -> None:
    conn = vssnative.connect(file)
    conn.execute("insert into posts(title) values ('in the log')")
    conn.commit()
    with pytest.raises(ConnectionSetupError, match=r"posts\.db: commits lie in the -wal beside it"):
        vssnative.connect(file, immutable=True)
    conn.close()
    copied = vssnative.connect(file.as_uri(), immutable=True)
    assert copied.execute("select count(*) from posts").fetchone() == (3,)
    copied.close()


def test_a_commit_that_was_cut_short_is_not_seen_in_half(tmp_path: Path) -> None:
    path = tmp_path / "posts.db"
    writer = vssnative.connect(path, wal=False)
    writer.execute("create table posts(title text)")
    writer.executemany("insert into posts values (?)", [("a" * 500,)] * 500)
    writer.commit()
    for mode in ("truncate", "persist"):
        writer.execute(f"pragma journal_mode = {mode}")
        writer.execute("insert into posts values ('last')")
        writer.commit()
        vssnative.connect(
            path, immutable=True
        ).close()  # what is left of a journal has no commit to take back
    writer.execute("pragma cache_size = 5")
    writer.execute("update posts set title = 'b' || title")
    killed = tmp_path / "killed.db"
    for end in ("", "-journal"):
        shutil.copy(f"{path}{end}", f"{killed}{end}")
    writer.close()
    for name in (killed, killed.as_uri()):
        with pytest.raises(ConnectionSetupError, match=r"killed\.db: the -journal beside it"):
            vssnative.connect(name, immutable=True)
    vssnative.connect(killed, wal=False).execute("select count(*) from posts").fetchone()
    conn = vssnative.connect(killed, immutable=True)
    assert conn.execute("select count(*) from posts where title like 'b%'").fetchone() == (0,)
    conn.close()


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="there is no directory .*nowhere"):
        vssnative.connect(tmp_path / "nowhere" / "x.db")
    with pytest.raises(sqlite3.OperationalError, match="^" + re.escape(f"{tmp_path / 'nowhere' / 'x.db'}: ")):
        vssnative.connect(os.fsencode(tmp_path / "nowhere" / "x.db"))  # type: ignore[call-overload]
    with pytest.raises(sqlite3.OperationalError, match=r"x\.db: .*there is no such file"):
        vssnative.connect(tmp_path / "x.db", immutable=True)
    assert not (tmp_path / "x.db").exists()
    (tmp_path / "text.db").write_text("no database, but a text that is long enough" * 40)
    with pytest.raises(
        sqlite3.DatabaseError, match=r"text\.db: file is not a database: it is no SQLite database"
    ):
        vssnative.connect(tmp_path / "text.db")


def test_what_reads_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "typo.db"
    calls: list[Callable[[], object]] = [
        lambda: asyncio.run(aio.search(path, "posts", "x")),
        lambda: asyncio.run(aio.search_many(str(path), "posts", ["x"])),
        lambda: asyncio.run(aio.sync(path)),
        lambda: asyncio.run(aio.status(path)),
        lambda: asyncio.run(aio.add_embeddings(path, "posts", ["title"], model="hash:8")),
        lambda: vssnative.Worker(path).run(),
        lambda: vssnative.Worker(path.as_uri()).run(),
    ]
    with contextlib.suppress(ImportError):
        from vssnative.integrations.langchain import VssRetriever

        calls.append(lambda: VssRetriever(source=path, table="posts"))
    for call in calls:
        with pytest.raises(ConnectionSetupError, match=r"typo\.db: there is no such file"):
            call()
        assert list(tmp_path.iterdir()) == []
    assert asyncio.run(aio.run(path, lambda conn: conn.execute("select 1").fetchone())) == (1,)
    assert asyncio.run(aio.status(path)) == []


class Refused(sqlite3.IntegrityError):
    """A class of the user's own, made from a driver's, with other arguments."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{why}: constraint failed")
        self.code = code


def test_a_class_of_the_users_own_arrives_as_it_was_raised(file: Path) -> None:
    conn = vssnative.connect(file)

    def refuse(_event: object) -> None:
        raise Refused(7, "not this one")

    vssnative.change_model(conn, "posts", "hash:16")
    with pytest.raises(Refused) as raised:
        vssnative.sync(conn, on_event=refuse)
    assert raised.value.code == 7 and raised.value.__cause__ is None
    conn.close()


OPTIONS = ["", "?mode=rwc", "?immutable=0", "?cache=shared&mode=rw", "#part", "?immutable=0#part"]


@pytest.mark.parametrize("options", OPTIONS)
def test_immutable_holds_whatever_the_uri_says(file: Path, options: str) -> None:
    conn = vssnative.connect(f"{file.as_uri()}{options}", immutable=True)
    assert vssnative.search(conn, "posts", "red fruit", k=1)[0].key == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        conn.execute("create table made(x)")
    assert not Path(f"{file}-shm").exists() and not Path(f"{file}-wal").exists()
    conn.close()


def test_a_file_that_would_outgrow_the_limit_for_files(file: Path) -> None:
    program = (
        "import resource, signal, sys, vssnative\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "conn = vssnative.connect(sys.argv[1], isolation_level=None)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))\n"
        "try:\n    vssnative.Index(conn).add(range(5000), [[float(i), 1.0] for i in range(5000)], replace=True)\n"
        "except Exception as error:\n    print(type(error).__name__, error, conn.in_transaction)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.startswith(f"OperationalError {file}: "), done.stderr
    assert "larger than it may be (ulimit -f" in done.stdout and done.stdout.endswith("False\n")
    with contextlib.closing(vssnative.connect(file)) as conn:
        assert conn.execute("select count(*), vss_check('vss_vectors') from vss_vectors").fetchall() == [
            (1, "ok")
        ]
        assert vssnative.verify(conn, "posts").ok
