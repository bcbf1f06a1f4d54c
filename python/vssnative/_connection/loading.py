"""The two ways in which vss0 gets into a connection.

1. By the connection's own loader where it has one; extension loading is switched on for that moment only.
2. Else, many Pythons being built without ``enable_load_extension``, by calling vss0's entry point on the
   connection with the API table of the very SQLite library that the driver already uses, see ``_Library``. No
   second copy of SQLite enters the process, and nothing stays registered in it.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Literal, NamedTuple, TypeAlias

from .._advice import Advice
from ..errors import ConnectionSetupError, ExtensionLoadError
from .drivers import Driver, driver_of
from .failures import told_error
from .protocol import Raw
from .statements import driver_error, execute

Way: TypeAlias = Literal["loaded before", "by its own load_extension", "by vss0's entry point"]
"""How vss0 got into a connection."""

_ENTRY_POINT = "sqlite3_vss_init"
_OLDEST_SQLITE = (3, 31, 0)
_DBCONFIG_ENABLE_LOAD_EXTENSION = 1005


def loadable_path() -> str:
    """Absolute path of the vss0 extension, one file free of Python.

    Any SQLite takes it: ``conn.load_extension(vssnative.loadable_path())``, or ``.load PATH`` in the sqlite3
    shell. Within a Python process ``load`` is better: it also works where the driver has no
    ``load_extension``.
    """
    from .. import _core

    folder = os.path.dirname(os.path.realpath(_core.__file__))
    for suffix in (".so", ".dylib", ".dll"):
        path = os.path.join(folder, f"_vss0{suffix}")
        if os.path.isfile(path):
            return path
    raise ExtensionLoadError(
        f"vss0 is missing beside {_core.__file__}: the installation is incomplete, reinstall vssnative"
    )


def load_into(conn: Raw) -> Way:
    driver = driver_of(conn)
    if _is_certainly_loaded(conn):
        return "loaded before"
    try:
        [(version,)] = execute(conn, "select sqlite_version()")
    except driver_error(conn) as error:
        told = told_error(conn, error)
        raise ConnectionSetupError(f"the {driver.name} connection cannot be used: {told}") from told
    if tuple(int(part) for part in version.split(".")) < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise ExtensionLoadError(
            f"vss0 needs SQLite {oldest} or newer; {driver.name} uses SQLite {version}. Use a newer Python, or"
            " a driver that carries its own SQLite: pip install pysqlite3-binary, or pip install apsw"
        )
    if _is_loaded(conn):
        return "loaded before"
    tried: list[str] = []
    ways: tuple[tuple[Way, Callable[[Raw, Driver], str | None]], ...] = (
        ("by its own load_extension", _load_by_own_loader),
        ("by vss0's entry point", _load_by_entry_point),
    )
    for way, attempt in ways:
        reason = attempt(conn, driver)
        if reason is None and not _is_loaded(conn):
            reason = f"{way}: it reported success, but the connection has no module vss0"
        if reason is None:
            return way
        tried.append(reason)
    lines = "\n".join(f"  {number}. {reason}" for number, reason in enumerate(tried, 1))
    raise ExtensionLoadError(
        f"vss0 could not be loaded into this {driver.name} connection (SQLite {version}, Python"
        f" {sys.version.split()[0]}).\nTried:\n{lines}\nWhat to do",
        tuple(tried),
        advice=Advice(
            "open the database with a driver that can load extensions, for example `pip install pysqlite3-binary` and"
            " vssnative.connect(path, driver=pysqlite3), or `pip install apsw`; `vssnative doctor` shows what this"
            " machine has.",
            "install vssnative into another Python, whose sqlite3 can load extensions; `vssnative doctor` shows what"
            " this machine has.",
        ),
    )


def _is_certainly_loaded(conn: Raw) -> bool:
    """Whether one statement shows it, as before each search. Where it does not, whatever is wrong is looked into."""
    from .. import _core

    modules = "select count(*) from pragma_module_list where name in ('vss0', 'vss_buffer')"
    try:
        return execute(conn, f"select vss_version(), ({modules})") == [(f"v{_core.vss0_version()}", 2)]
    except driver_error(conn):
        return False


def _is_loaded(conn: Raw) -> bool:
    from .. import _core

    ours = _core.vss0_version()
    modules = "select name from pragma_module_list where name in ('vss0', 'vss_buffer')"
    present = {name for (name,) in execute(conn, modules)}
    try:
        [(version,)] = execute(conn, "select vss_version()")
    except driver_error(conn):
        version = None
    if present == {"vss0"} or version not in (None, ours, f"v{ours}"):
        raise ExtensionLoadError(
            f"the connection already has another vss0, version {version!r}; this package brings {ours!r}. Load"
            " only one of them: leave out the other (sqlite-vss, say) and let vssnative.load do it."
        )
    return len(present) == 2


def _load_by_own_loader(conn: Raw, driver: Driver) -> str | None:
    """Returns None on success, else a sentence that says what failed."""
    what = f"{driver.name}'s own load_extension"
    if not hasattr(conn, "enableloadextension" if driver.is_apsw else "enable_load_extension"):
        return f"{what}: this build of {driver.name} was compiled without it"
    # apsw has these names in all its versions, the ones with underscores since 3.42.
    enable = conn.enableloadextension if driver.is_apsw else conn.enable_load_extension
    try:
        was_enabled = _loading_is_enabled(conn, driver)
        if not was_enabled:
            enable(True)
        try:
            if driver.is_apsw:
                conn.loadextension(loadable_path(), _ENTRY_POINT)
            else:
                conn.load_extension(loadable_path())
        finally:
            if not was_enabled:
                enable(False)
    except driver_error(conn) as error:
        return f"{what}: {error}"
    return None


def _loading_is_enabled(conn: Raw, driver: Driver) -> bool:
    if driver.is_apsw:
        return bool(conn.config(_DBCONFIG_ENABLE_LOAD_EXTENSION, -1))
    if hasattr(conn, "getconfig"):  # Python 3.12
        return bool(conn.getconfig(_DBCONFIG_ENABLE_LOAD_EXTENSION))
    try:
        execute(conn, "select load_extension(?)", [loadable_path() + ".no-such-file"])
    except driver_error(conn) as error:
        return "not authorized" not in str(error)
    return True


def _load_by_entry_point(conn: Raw, driver: Driver) -> str | None:
    """Returns None on success, else a sentence that says what failed."""
    from .. import _core

    what = "calling vss0's entry point in the driver's own SQLite"
    library = _library_of(driver)
    if isinstance(library, str):
        return f"{what}: {library}"
    code, message = _core.initialize_extension(library.handle_of(conn), library.api)
    return None if code == 0 else f"{what}: {message or f'SQLite error {code}'}"


class _Library(NamedTuple):
    """The SQLite library inside a driver module, as learnt from one connection of that driver.

    A function registered with the library's ``sqlite3_auto_extension`` is handed the ``sqlite3*`` of the next
    connection opened, and the library's API table. Where in the driver's Connection object that pointer
    stands is then looked up, not assumed: exactly one word of the object must equal it, and must be zero once
    it is closed.

    Attributes:
        offset: of the ``sqlite3*`` within a connection object, in bytes.
        api: address of the ``sqlite3_api_routines``.
    """

    offset: int
    api: int

    def handle_of(self, conn: Raw) -> int:
        """Address of the connection's ``sqlite3*``; `conn` must be open."""
        return _word_at(id(conn) + self.offset)


_WORD = struct.calcsize("P")
_libraries: dict[ModuleType, _Library | str] = {}
_libraries_lock = threading.Lock()  # two captures at once would cancel each other's registration


def _library_of(driver: Driver) -> _Library | str:
    """The driver's library, or a sentence that says why it cannot be reached."""
    with _libraries_lock:
        if driver.native not in _libraries:
            _libraries[driver.native] = _learn_library(driver)
        return _libraries[driver.native]


def _learn_library(driver: Driver) -> _Library | str:
    from .. import _core

    if sys.implementation.name != "cpython":
        return f"only CPython's objects can be looked into, this is {sys.implementation.name}"
    try:
        import ctypes
    except ImportError as error:  # an optional part of a Python that was built without libffi
        return f"ctypes is needed to find SQLite's symbols: {error}"
    file = getattr(driver.native, "__file__", None)  # None: built into the interpreter
    place = file or sys.executable
    try:
        symbols = ctypes.CDLL(file)
        register = ctypes.cast(symbols.sqlite3_auto_extension, ctypes.c_void_p).value
        cancel = ctypes.cast(symbols.sqlite3_cancel_auto_extension, ctypes.c_void_p).value
    except (OSError, AttributeError) as error:
        return f"no sqlite3_auto_extension is visible through {place} ({error})"
    assert register is not None and cancel is not None  # a symbol that dlsym found has an address
    code = _core.begin_capture(register)
    try:
        probe = driver.connection_class(":memory:")
    finally:
        captured = _core.end_capture(cancel)
    try:
        if code != 0:
            return f"sqlite3_auto_extension answered with SQLite error {code}"
        if captured is None:
            return f"{driver.name} does not use the SQLite library that is visible through {place}"
        db, api = captured
        size = driver.connection_class.__basicsize__
        offsets = [at for at in range(0, size - _WORD + 1, _WORD) if _word_at(id(probe) + at) == db]
    finally:
        probe.close()
    if len(offsets) != 1 or _word_at(id(probe) + offsets[0]) != 0:
        return f"the layout of {driver.name}'s connections is not as expected"
    return _Library(offsets[0], api)


def _word_at(address: int) -> int:
    import ctypes

    return int.from_bytes(ctypes.string_at(address, _WORD), sys.byteorder)
