"""load and connect on every kind of connection, and the statements and transactions that are alike on all."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import vssnative
from vssnative._connection import (
    driver_error,
    drivers,
    execute,
    in_transaction,
    is_busy,
    load_by,
    loading,
    statements,
    transaction,
)
from vssnative.errors import ConfigurationError, ConnectionSetupError, ExtensionLoadError

DRIVERS = ("sqlite3", "pysqlite3", "apsw")
Open = Callable[..., Any]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


@pytest.fixture
def open_plain(driver: ModuleType) -> Iterator[Open]:
    """Opens connections of the driver as its own users do, without vssnative; closes them at the end."""
    with contextlib.ExitStack() as stack:

        def open_(path: Any = ":memory:", **kwargs: Any) -> Any:
            connect = driver.Connection if driver.__name__ == "apsw" else driver.connect
            conn = connect(str(path), **kwargs)
            stack.callback(conn.close)
            return conn

        yield open_


@pytest.fixture
def open_vss(driver: ModuleType) -> Iterator[Open]:
    """Opens connections through vssnative.connect; closes them at the end."""
    with contextlib.ExitStack() as stack:

        def open_(path: Any = ":memory:", **kwargs: Any) -> Any:
            conn = vssnative.connect(path, driver=driver, **kwargs)
            stack.callback(conn.close)
            return conn

        yield open_


LOADED = "select count(*) from pragma_module_list where name = 'vss0'"


def has_vss(conn: Any) -> bool:
    return execute(conn, LOADED) == [(1,)]


# --- loading ----------------------------------------------------------------------------------------------------------


def test_load_works_on_an_open_connection_and_again(open_plain: Open) -> None:
    conn = open_plain()
    assert not has_vss(conn)
    vssnative.load(conn)
    assert has_vss(conn)
    assert load_by(conn) == "loaded before"
    execute(conn, "create virtual table t using vss0(a(2))")
    execute(conn, "insert into t(rowid, a) values (1, '[1, 2]')")
    assert execute(conn, "select rowid, distance from t where a match '[1, 2]' and k = 1") == [(1, 0.0)]


def test_both_ways_are_exercised_by_these_tests(tmp_path: Path) -> None:
    apsw = importlib.import_module("apsw")
    with contextlib.closing(apsw.Connection(":memory:")) as conn:
        assert load_by(conn) == "by its own load_extension"
    with contextlib.closing(sqlite3.connect(":memory:")) as conn:
        own = hasattr(conn, "enable_load_extension")
        assert load_by(conn) == ("by its own load_extension" if own else "by vss0's entry point")


@pytest.mark.parametrize("name", ["sqlite3", "pysqlite3"])
def test_the_entry_point_serves_also_where_a_loader_exists(name: str) -> None:
    module = importlib.import_module(name)
    with contextlib.closing(module.connect(":memory:")) as conn:
        _, driver = drivers.resolve(conn)
        assert loading._load_by_entry_point(conn, driver) is None
        assert has_vss(conn)


def test_subclasses_of_the_drivers_connection_load_too() -> None:
    class Mine(sqlite3.Connection):
        __slots__ = ("extra",)

        def cursor(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("the caller's own cursor is none of our business")

    with contextlib.closing(sqlite3.connect(":memory:", factory=Mine)) as conn:
        _, driver = drivers.resolve(conn)
        assert loading._load_by_entry_point(conn, driver) is None
        assert has_vss(conn)


def test_new_connections_of_the_process_are_left_alone(open_plain: Open) -> None:
    vssnative.load(open_plain())
    assert not has_vss(open_plain())
    with contextlib.closing(sqlite3.connect(":memory:")) as other:
        assert not has_vss(other)


def test_vss0_is_mapped_once_and_no_second_sqlite_comes(open_plain: Open) -> None:
    conn = open_plain()
    [(before,)] = execute(conn, "select sqlite_source_id()")
    with open("/proc/self/maps") as maps:
        libraries_before = {line.split()[-1] for line in maps if "sqlite" in line and ".so" in line}
    vssnative.load(conn)
    with open("/proc/self/maps") as maps:
        lines = [line.split()[-1] for line in maps if ".so" in line]
    assert {line for line in lines if line.endswith("_vss0.so")} == {vssnative.loadable_path()}
    assert {line for line in lines if "sqlite" in line} == libraries_before
    assert execute(conn, "select sqlite_source_id()") == [(before,)]


def test_load_changes_nothing_else(open_plain: Open, tmp_path: Path) -> None:
    conn = open_plain(tmp_path / "x.db")
    execute(conn, "create table u(a)")
    with transaction(conn):
        execute(conn, "insert into u values (1)")
        assert in_transaction(conn)
        vssnative.load(conn)
        assert in_transaction(conn)
    is_apsw = type(conn).__module__ == "apsw"
    total = conn.total_changes() if is_apsw else conn.total_changes
    before = None if is_apsw else (conn.isolation_level, conn.row_factory, conn.text_factory)
    vssnative.load(conn)
    assert not in_transaction(conn)
    assert total == (conn.total_changes() if is_apsw else conn.total_changes) == 1
    if not is_apsw:
        assert before == (conn.isolation_level, conn.row_factory, conn.text_factory)
    with pytest.raises(driver_error(conn), match="not authorized"):
        execute(conn, "select load_extension('x')")


@pytest.mark.parametrize("name", ["pysqlite3", "apsw"])
def test_extension_loading_stays_on_where_it_was_on(name: str) -> None:
    module = importlib.import_module(name)
    conn = module.Connection(":memory:")
    with contextlib.closing(conn):
        conn.enable_load_extension(True)
        vssnative.load(conn)
        with pytest.raises(driver_error(conn), match="no-such-file"):
            execute(conn, "select load_extension('/no-such-file')")


def test_connections_of_many_threads_load_at_once() -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(8)

    def work() -> None:
        try:
            start.wait()
            for _ in range(20):
                with contextlib.closing(sqlite3.connect(":memory:")) as conn:
                    vssnative.load(conn)
                    assert has_vss(conn)
        except BaseException as error:  # noqa: BLE001  (told by the main thread)
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_row_factories_and_traces_have_no_part_in_it(open_plain: Open) -> None:
    conn = open_plain()
    if type(conn).__module__ == "apsw":
        conn.setrowtrace(lambda _cursor, _row: ("spoilt",))
    else:
        conn.row_factory = lambda _cursor, _row: "spoilt"
        conn.text_factory = bytes
    vssnative.load(conn)
    assert execute(conn, "select 'text', 1") == [("text", 1)]
    assert execute(conn, "select :a + 1", {"a": 2}) == [(3,)]
    if type(conn).__module__ != "apsw":
        assert conn.text_factory is bytes


# --- refusals -----------------------------------------------------------------------------------------------------


def test_a_closed_connection_is_refused(open_plain: Open) -> None:
    conn = open_plain()
    conn.close()
    with pytest.raises(ConnectionSetupError, match=r"closed"):
        vssnative.load(conn)


def test_a_connection_of_another_thread_is_refused() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as conn:
        caught: list[BaseException] = []

        def work() -> None:
            try:
                vssnative.load(conn)
            except ConnectionSetupError as error:
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert "thread" in str(caught[0])


@pytest.mark.parametrize("thing", ["x.db", None, object()])
def test_what_is_no_connection_is_refused(thing: object) -> None:
    with pytest.raises(ConnectionSetupError, match="no SQLite connection that vssnative knows"):
        vssnative.load(thing)


def test_another_vss0_is_noticed(open_plain: Open) -> None:
    conn = open_plain()
    if type(conn).__module__ == "apsw":
        conn.create_scalar_function("vss_version", lambda: "v0.1.2", 0)
    else:
        conn.create_function("vss_version", 0, lambda: "v0.1.2")
    with pytest.raises(ExtensionLoadError, match=r"another vss0, version 'v0\.1\.2'"):
        vssnative.load(conn)


def test_where_no_way_works_the_error_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        loading, "_load_by_own_loader", lambda conn, driver: "own loader: compiled without it"
    )
    monkeypatch.setattr(loading, "_load_by_entry_point", lambda conn, driver: "entry point: no symbols")
    with (
        contextlib.closing(sqlite3.connect(":memory:")) as conn,
        pytest.raises(ExtensionLoadError, match="pip install pysqlite3-binary") as caught,
    ):
        vssnative.load(conn)
    assert caught.value.tried == ("own loader: compiled without it", "entry point: no symbols")
    assert "1. own loader" in str(caught.value) and "2. entry point" in str(caught.value)


def test_a_driver_whose_sqlite_is_hidden_says_so() -> None:
    apsw = importlib.import_module("apsw")
    with contextlib.closing(apsw.Connection(":memory:")) as conn:
        _, driver = drivers.resolve(conn)
        reason = loading._load_by_entry_point(conn, driver)
    assert reason is not None and "no sqlite3_auto_extension is visible" in reason


def test_symbols_of_the_wrong_library_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver opens its connections in another SQLite than the one whose symbols were found."""
    other = importlib.import_module("pysqlite3")
    wrong = drivers.Driver("wrong", sys.modules["_sqlite3"], other.Connection)
    learnt = loading._learn_library(wrong)
    assert isinstance(learnt, str) and "does not use the SQLite library" in learnt


def test_a_python_without_ctypes_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as conn:
        _, driver = drivers.resolve(conn)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    learnt = loading._learn_library(driver)
    assert isinstance(learnt, str) and "ctypes is needed" in learnt


def test_load_while_a_cursor_is_open(open_plain: Open) -> None:
    conn = open_plain()
    rows = iter(conn.cursor().execute("select 1 union select 2"))
    assert next(rows) == (1,)
    vssnative.load(conn)
    assert list(rows) == [(2,)] and has_vss(conn)


# --- connect ------------------------------------------------------------------------------------------------------


def test_connect_sets_wal_synchronous_timeout_and_mapping(open_vss: Open, tmp_path: Path) -> None:
    conn = open_vss(tmp_path / "x.db")
    assert execute(conn, "pragma journal_mode") == [("wal",)]
    assert execute(conn, "pragma synchronous") == [(1,)]
    assert execute(conn, "pragma busy_timeout") == [(5000,)]
    [(mapped,)] = execute(conn, "pragma mmap_size")
    assert mapped >= 1 << 28
    other = open_vss(tmp_path / "y.db", wal=False, synchronous=None, timeout=0.25, mapped=False)
    assert execute(other, "pragma journal_mode") == [("delete",)]
    assert execute(other, "pragma synchronous") == [(2,)]
    assert execute(other, "pragma busy_timeout") == [(250,)]
    assert execute(other, "pragma mmap_size") == [(0,)]
    assert not in_transaction(conn) and not in_transaction(other)


def test_connect_opens_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute("create table u(a)")
    path.chmod(0o444)
    with contextlib.closing(vssnative.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        assert has_vss(conn)
        assert execute(conn, "pragma journal_mode") == [("delete",)]


def test_connect_waits_for_the_lock_that_wal_needs(
    driver: ModuleType, open_plain: Open, tmp_path: Path
) -> None:
    path = tmp_path / "x.db"
    reader = open_plain(path)
    execute(reader, "create table u(a)")
    execute(reader, "begin")
    execute(reader, "select count(*) from u")
    opened = threading.Event()

    def work() -> None:
        with contextlib.closing(vssnative.connect(path, driver=driver)) as conn:
            assert execute(conn, "pragma journal_mode") == [("wal",)]
            opened.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert not opened.wait(0.1)
    execute(reader, "commit")
    thread.join()
    assert opened.is_set()


def test_connect_gives_up_after_the_timeout_and_closes(
    open_plain: Open, open_vss: Open, tmp_path: Path
) -> None:
    path = tmp_path / "x.db"
    reader = open_plain(path)
    execute(reader, "create table u(a)")
    execute(reader, "begin")
    execute(reader, "select count(*) from u")
    with pytest.raises(driver_error(reader)) as caught:
        open_vss(path, timeout=0.05)
    assert is_busy(caught.value)


if sys.version_info >= (3, 12):

    def test_connect_with_pep_249_autocommit(tmp_path: Path) -> None:
        with contextlib.closing(vssnative.connect(tmp_path / "x.db", autocommit=False)) as conn:
            assert execute(conn, "pragma journal_mode") == [("wal",)]
            vssnative.Index(conn).add([1], np.ones((1, 4), np.float32))
            conn.rollback()
            assert len(vssnative.Index(conn)) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"synchronous": "fast"}, "synchronous must be one of"),
        ({"timeout": -1}, "timeout must be 0 or more"),
    ],
)
def test_connect_refuses_values_that_cannot_be(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        vssnative.connect(":memory:", **arguments)


def test_connect_refuses_a_module_that_is_no_driver() -> None:
    with pytest.raises(ConnectionSetupError, match="driver must be a module such as"):
        vssnative.connect(":memory:", driver=os)


def test_the_sqlite3_shell_loads_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        index = vssnative.Index(conn, dim=3)
        index.add([7], np.array([[1, 2, 3]], np.float32))
        conn.commit()
    sql = "select rowid, distance from vss_vectors where embedding match '[1, 2, 3]' and k = 1;"
    done = subprocess.run(
        ["sqlite3", str(path), f".load {vssnative.loadable_path()}", sql],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("7|0.0\n", "")


# --- vectors on every kind of connection ------------------------------------------------------------------------------


def test_bulk_add_and_search_equal_brute_force_after_reopening(open_vss: Open, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    matrix = rng.standard_normal((2000, 48), dtype=np.float32)
    queries = rng.standard_normal((20, 48), dtype=np.float32)
    path = tmp_path / "x.db"
    conn = open_vss(path)
    with transaction(conn):
        vssnative.Index(conn).add(np.arange(2000), matrix)
    conn.close()
    ids, distances = vssnative.Index(open_vss(path)).search(queries, k=10, recall=1.0)
    truth = ((queries[:, None, :] - matrix[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(ids, truth.argsort(axis=1, kind="stable")[:, :10])
    np.testing.assert_allclose(distances, np.sort(truth, axis=1)[:, :10], rtol=1e-5)


# --- statements and transactions --------------------------------------------------------------------------------------


def test_a_transaction_commits_or_takes_all_back(open_plain: Open, tmp_path: Path) -> None:
    conn = open_plain(tmp_path / "x.db")
    execute(conn, "create table u(a)")
    with transaction(conn):
        execute(conn, "insert into u values (1)")
    with pytest.raises(ZeroDivisionError), transaction(conn):
        execute(conn, "insert into u values (2)")
        raise ZeroDivisionError
    assert not in_transaction(conn)
    assert execute(open_plain(tmp_path / "x.db"), "select a from u") == [(1,)]


def test_a_transaction_within_another_is_a_savepoint(open_plain: Open) -> None:
    conn = open_plain()
    execute(conn, "create table u(a)")
    with transaction(conn):
        execute(conn, "insert into u values (1)")
        with transaction(conn):
            execute(conn, "insert into u values (2)")
            with pytest.raises(ZeroDivisionError), transaction(conn):
                execute(conn, "insert into u values (3)")
                raise ZeroDivisionError
        assert in_transaction(conn)
    assert execute(conn, "select a from u order by a") == [(1,), (2,)]


def test_an_error_that_rolled_everything_back_is_not_hidden(open_plain: Open) -> None:
    conn = open_plain()
    execute(conn, "create table u(a unique)")
    execute(conn, "insert into u values (1)")
    if in_transaction(conn):
        execute(conn, "commit")
    with pytest.raises(driver_error(conn), match="UNIQUE"), transaction(conn):
        execute(conn, "insert or rollback into u values (1)")
    assert not in_transaction(conn)


@pytest.mark.parametrize("isolation_level", [None, "DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
def test_transactions_under_every_isolation_level(isolation_level: str | None) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=isolation_level)) as conn:
        execute(conn, "create table u(a)")
        with transaction(conn):
            execute(conn, "insert into u values (1)")
        assert not in_transaction(conn)
        assert conn.isolation_level == isolation_level
        assert execute(conn, "select a from u") == [(1,)]


def test_busy_errors_are_told_from_others(open_plain: Open, tmp_path: Path) -> None:
    one, two = open_plain(tmp_path / "x.db"), open_plain(tmp_path / "x.db")
    execute(two, "pragma busy_timeout = 0")
    execute(one, "create table u(a)")
    with transaction(one), pytest.raises(driver_error(two)) as caught, transaction(two):
        pass
    assert is_busy(caught.value)
    with pytest.raises(driver_error(two)) as caught:
        execute(two, "select nothing")
    assert not is_busy(caught.value)


# --- wrappers -----------------------------------------------------------------------------------------------------


def test_sqlalchemy_connections_and_sessions(tmp_path: Path) -> None:
    sqlalchemy = importlib.import_module("sqlalchemy")
    orm = importlib.import_module("sqlalchemy.orm")
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    try:
        with engine.connect() as conn:
            vssnative.load(conn)
            assert conn.exec_driver_sql(LOADED).scalar() == 1
            vssnative.Index(conn).add([1], np.ones((1, 3), np.float32))
            conn.rollback()
        with orm.Session(engine) as session:
            vssnative.load(session)
            vssnative.Index(session).add([1], np.ones((1, 3), np.float32))
            session.commit()
        raw = engine.raw_connection()
        vssnative.load(raw)
        assert len(vssnative.Index(raw)) == 1
        raw.close()
    finally:
        engine.dispose()


def test_sqlalchemy_loads_into_every_new_connection(tmp_path: Path) -> None:
    sqlalchemy = importlib.import_module("sqlalchemy")
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    sqlalchemy.event.listen(
        engine, "connect", lambda dbapi_connection, _record: vssnative.load(dbapi_connection)
    )
    try:
        with engine.connect() as conn:
            assert conn.exec_driver_sql(LOADED).scalar() == 1
    finally:
        engine.dispose()


def test_sqlalchemys_asyncio(tmp_path: Path) -> None:
    sqlalchemy = importlib.import_module("sqlalchemy")
    asyncio_part = importlib.import_module("sqlalchemy.ext.asyncio")
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"

    async def work() -> None:
        engine = asyncio_part.create_async_engine(url)
        async with engine.connect() as conn:
            vssnative.load(conn)
            assert (await conn.execute(sqlalchemy.text(LOADED))).scalar() == 1
        await engine.dispose()
        async with asyncio_part.AsyncSession(engine) as session:
            await session.run_sync(vssnative.load)
            assert (await session.execute(sqlalchemy.text(LOADED))).scalar() == 1
        await engine.dispose()

    asyncio.run(work())


def test_aiosqlite_connections() -> None:
    aiosqlite = importlib.import_module("aiosqlite")

    async def work() -> None:
        async with aiosqlite.connect(":memory:") as conn:
            vssnative.load(conn)
            async with conn.execute(LOADED) as cursor:
                assert await cursor.fetchone() == (1,)
            await asyncio.to_thread(vssnative.load, conn)
            with pytest.raises(ConnectionSetupError, match="only be used by its own thread"):
                vssnative.Index(conn)
        with pytest.raises(ConnectionSetupError, match="aiosqlite"):
            vssnative.load(conn)

    asyncio.run(work())


def test_sqlite_utils_databases() -> None:
    sqlite_utils = importlib.import_module("sqlite_utils")
    db = sqlite_utils.Database(memory=True)
    with contextlib.closing(db):
        vssnative.load(db)
        vssnative.Index(db).add([1], np.ones((1, 3), np.float32))
        assert db.execute("select count(*) from vss_vectors").fetchall() == [(1,)]


DJANGO = """
import sys
import django
import numpy as np
import vssnative
from django.conf import settings

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}})
django.setup()
from django.db import connection, transaction

vssnative.load(connection)
try:
    with transaction.atomic():
        vssnative.Index(connection).add([1], np.ones((1, 3), np.float32))
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
with transaction.atomic():
    vssnative.Index(connection).add([2], np.ones((1, 3), np.float32))
with connection.cursor() as cursor:
    cursor.execute("select rowid from vss_vectors")
    print(cursor.fetchall())
connection.close()
"""


def test_django_connections_and_their_transactions(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DJANGO, str(tmp_path / "x.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[(2,)]\n", "")


# --- beside sqlite-vss ------------------------------------------------------------------------------------------------

STRANGER = """
int sqlite3_vss_init(void *db, char **error, const void *api) { return 1; }
int vss0_stranger(void) { return 7; }
"""


def test_a_library_of_another_named_vss0_in_the_process_is_not_taken_for_ours(tmp_path: Path) -> None:
    """sqlite-vss's own library has this file name, this SONAME and this entry point, and SQLite loads it globally."""
    source, library = tmp_path / "stranger.c", tmp_path / "vss0.so"
    source.write_text(STRANGER)
    subprocess.run(
        ["g++", "-x", "c", "-shared", "-fPIC", "-Wl,-soname,vss0.so", "-o", str(library), str(source)],
        check=True,
    )
    code = (
        f"import ctypes; stranger = ctypes.CDLL({str(library)!r}, ctypes.RTLD_GLOBAL); import vssnative\n"
        "conn = vssnative.connect(':memory:'); print(conn.execute('select vss_version()').fetchone()[0])\n"
        "print(stranger.vss0_stranger()); conn.close()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [f"v{vssnative.__version__}", "7"], done.stderr


def test_ctrl_c_just_when_a_transaction_has_begun_leaves_none_open(monkeypatch: pytest.MonkeyPatch) -> None:
    conn = vssnative.connect(":memory:", isolation_level=None)
    run = statements.execute

    def interrupted(conn: Any, sql: str, params: Any = ()) -> Any:
        rows = run(conn, sql, params)
        if sql.startswith("BEGIN"):
            raise KeyboardInterrupt
        return rows

    monkeypatch.setattr(statements, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt), statements.transaction(conn):
        raise AssertionError("not reached")
    assert not conn.in_transaction
    conn.close()


def test_subinterpreters_are_refused_in_a_sentence() -> None:
    """Importing waited for ever there."""
    program = (
        "import sys\n"
        "try:\n    import _interpreters as interpreters\n"
        "except ImportError:\n    import _xxsubinterpreters as interpreters\n"
        "run = getattr(interpreters, 'exec', None) or interpreters.run_string\n"
        "code = 'try:\\n    import vssnative\\nexcept ImportError as error:\\n    print(error, flush=True)'\n"
        "run(interpreters.create(), code)\n"
        "import vssnative\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("vssnative works in Python's main interpreter only"), done.stderr
    assert done.returncode == 0, done.stderr


def test_connecting_imports_what_it_uses() -> None:
    """A new process's first search waits for imports: these took 8 of the 25 ms that connecting took."""
    program = (
        "import sys; before = set(sys.modules); import vssnative; vssnative.connect(':memory:').close();"
        " print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "vssnative._core" in done.stdout.split()
    assert not {"urllib.parse", "pathlib", "dataclasses", "json", "numpy"} & set(done.stdout.split())
