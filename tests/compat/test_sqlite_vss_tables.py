"""Tables of sqlite-vss 0.1.2: the same statements answer the same here, or differ for a reason that is listed.

`sqlite_vss_tables/answers.json` holds what sqlite-vss answered, made once by `record.py` beside it. docs/compat.md gives
the reasons in words.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import vssnative
from tests.conftest import HAS_FAISS, needs_faiss
from vssnative.compat import sqlite_vss

from .sqlite_vss_tables.run import answers_of
from .sqlite_vss_tables.scripts import SCRIPTS

THEIRS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "sqlite_vss_tables" / "answers.json").read_text()
)


class Reason(NamedTuple):
    """Statements that are answered otherwise on purpose: patterns for the script's name, the statement, both answers."""

    words: str
    script: str
    sql: str
    theirs: str
    ours: str


OURS_22 = r'"rows": \[\[22, 1\.57333'
LOSSY = r"factory=(IVF4,SQ8|IVF2,PQ|SQ|PQ|PCA2|OPQ2|L2norm)"
REASONS = [
    Reason("a crash there", "", "", "crash", ""),
    Reason(
        "what is no vector of the column is refused, not passed over",
        "inserts",
        "insert",
        '"rows": \\[\\]',
        "expected|not a JSON",
    ),
    Reason("as above, so there are fewer rows", "inserts", "count", r"\[\[16\]\]", r"\[\[10\]\]"),
    Reason(
        "vectors of another dimension are not cut or filled up",
        "range search",
        "",
        '"rows"',
        "Input query size doesn't match",
    ),
    Reason(
        "numbers beyond float32, NaN",
        "search",
        "1e39|c07f",
        '"rows": \\[\\]',
        "that float32 can hold|got nan",
    ),
    Reason(
        "numbers beyond float32, NaN",
        "(training|metric)",
        "1,2,3\\]'",
        '"rows": \\[\\]',
        "expected a vector of 4 dimensions",
    ),
    Reason("k = 0 is no row", "search", r"\], ?0\)|', 0\)", "Limit must be greater", '"rows": \\[\\]'),
    Reason(
        "k and distances are numbers, whole ones for k",
        "search",
        r"1\.5\)|null\)|'x'\)",
        '"rows"',
        "expected",
    ),
    Reason(
        "vss_search outside of a where clause is an error, not NULL",
        "search",
        "",
        '"rows"',
        "conditions of a where",
    ),
    Reason("no LIMIT is needed", "search with a limit", "vss_search", "LIMIT required", '"rows"'),
    Reason(
        "vss_search_params looks at the vector when the search begins",
        "search with parameters",
        "select vss_search_params.null",
        "not a vector",
        '"rows": \\[\\[null',
    ),
    Reason("hidden columns come last", "columns", "pragma_table_xinfo", '"rows"', '"rows"'),
    Reason("last_insert_rowid() is the row's", "inserts", "last_insert", r"\[\[0\]\]", r"\[\[1\]\]"),
    Reason("an error in words", "", "insert", "SQL logic error", 'table \\\\"t\\\\"'),
    Reason("distance is not written", "inserts", "distance\\)", '"rows"', "can be read, not written"),
    Reason(
        "an insert without a rowid takes the next", "inserts", "60,60", "SQL logic error", '"rows": \\[\\]'
    ),
    Reason("UPDATE works", "deletes and updates", "", "not supported yet", '"rows": \\[\\]'),
    Reason("UPDATE works", "deletes and updates", "vector_to_json", r"\[1\.0,2\.0\]", r"\[6\.0,6\.0\]"),
    Reason("UPDATE works", "deletes and updates", "vss_search", r"\[1, 13\.0\]", r"\[1, 10\.0\]"),
    Reason("there are more functions", "functions", "pragma_function_list", '"vss_version"', '"vss_version"'),
    Reason("there are more modules", "functions", "pragma_module_list", '"vss0"', '"vss0"'),
    Reason(
        "a declaration that means nothing is refused",
        "declarations",
        "",
        '"rows"',
        "expected|unknown option|has no value|taken by",
    ),
    Reason("errors say what is wrong", "declarations", "", '"error"', '"error"'),
    Reason("quotes and spaces as in SQL", "declarations", 'Flat,IDMap2|"L2"', '"error"', '"rows": \\[\\]'),
    Reason(
        "nothing needs training",
        "(training|factory=OPQ2)",
        "insert",
        "requires training|synchroning",
        '"rows"',
    ),
    Reason("nothing needs training", "training", "", "", r"\[\[[12]\]\]|row 1 exists|\[\[1, 422"),
    Reason("nothing needs training", "factory=OPQ2", "count|length", "", '"rows": \\[\\[(64|63|16)'),
    Reason(
        "names of metrics in any case, COSINE",
        "metric_type=(l2|COSINE|LINF)",
        "",
        "unknown metric|no such table",
        "",
    ),
    Reason("deleting works under every factory", "factory=", "delete", "remove_ids", '"rows": \\[\\]'),
    Reason("deleting works under every factory", "factory=", "count", r"\[\[64\]\]", r"\[\[63\]\]"),
    Reason(
        "rowids stay right after a delete in an IVF index", "factory=IVF", "vss_search", r"\[\[23, ", OURS_22
    ),
    Reason("the vector of a row can be read", "factory=", "length", "Error reconstructing", r"\[\[16\]\]"),
    Reason("distances are those of the vectors, not of codes", LOSSY, "vss_search", '"rows"', OURS_22),
]


def driver() -> ModuleType:
    """One with a SQLite that hands LIMIT to virtual tables, if there is one."""
    if sqlite3.sqlite_version_info >= (3, 41):
        return sqlite3
    try:
        import pysqlite3.dbapi2
    except ImportError:
        return sqlite3
    newer: ModuleType = pysqlite3.dbapi2
    return newer


def is_same_value(ours: Any, theirs: Any, precision: float = 1e-6) -> bool:
    """Floats to the precision of float32 sums, JSON arrays element by element."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=precision, abs_tol=precision)
    if isinstance(ours, str) and isinstance(theirs, str) and ours.startswith("[") and theirs.startswith("["):
        return is_same_value(list(map(float, json.loads(ours))), list(map(float, json.loads(theirs))))
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(
            is_same_value(mine, other, precision) for mine, other in zip(ours, theirs, strict=True)
        )
    return type(ours) is type(theirs) and bool(ours == theirs)


def is_same(ours: dict[str, Any], theirs: dict[str, Any], script: str = "") -> bool:
    if "error" in theirs:
        return str(ours.get("error", "")).startswith(theirs["error"])
    return (
        "rows" in theirs
        and "rows" in ours
        and ours["columns"] == theirs["columns"]
        # There, logarithms are taken in float32.
        and is_same_value(ours["rows"], theirs["rows"], 1e-4 if "JensenShannon" in script else 1e-6)
    )


def reason_for(script: str, sql: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Reason | None:
    for reason in REASONS:
        if (
            re.search(reason.script, script)
            and re.search(reason.sql, sql)
            and re.search(reason.theirs, json.dumps(theirs))
            and re.search(reason.ours, json.dumps(ours))
        ):
            return reason
    return None


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("scripts")
    return {
        name: list(answers_of(driver(), statements, str(folder / f"{number}.db"), sqlite_vss.load))
        for number, (name, statements) in enumerate(SCRIPTS.items())
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_statements_answer_as_in_sqlite_vss_or_differ_for_a_listed_reason(
    ours: dict[str, list[dict[str, Any]]], script: str
) -> None:
    if driver().sqlite_version_info < (3, 41) and any("limit" in sql for sql in SCRIPTS[script]):
        pytest.skip("this SQLite does not tell a virtual table of LIMIT, and no newer one is installed")
    if not HAS_FAISS and any("factory" in sql for sql in SCRIPTS[script]):
        pytest.skip("this build of vss0 has no Faiss (VSSNATIVE_FAISS=OFF): factory= is refused")
    for sql, mine, theirs in zip(SCRIPTS[script], ours[script], THEIRS[script], strict=True):
        if not is_same(mine, theirs, script):
            assert reason_for(script, sql, mine, theirs), f"{sql}\n  there: {theirs}\n  here: {mine}"


@needs_faiss
def test_every_listed_reason_is_needed(ours: dict[str, list[dict[str, Any]]]) -> None:
    used = {
        reason_for(script, sql, mine, theirs)
        for script, statements in SCRIPTS.items()
        for sql, mine, theirs in zip(statements, ours[script], THEIRS[script], strict=True)
        if not is_same(mine, theirs, script)
    }
    assert [reason.words for reason in REASONS if reason not in used] == []


def test_functions_and_modules_of_sqlite_vss_are_there(ours: dict[str, list[dict[str, Any]]]) -> None:
    for mine, theirs in zip(ours["functions"][:2], THEIRS["functions"][:2], strict=True):
        assert {name for (name,) in theirs["rows"]} <= {name for (name,) in mine["rows"]}


def test_the_package_sqlite_vss_has_a_stand_in(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "a.db")
    try:
        sqlite_vss.load_vector(conn)
        sqlite_vss.load_vss(conn)
        sqlite_vss.load(conn)
        assert conn.execute("select vss_version() like 'v%', vector_version() like 'v%'").fetchall() == [
            (1, 1)
        ]
    finally:
        conn.close()
    assert sqlite_vss.vss_loadable_path() == sqlite_vss.vector_loadable_path() == vssnative.loadable_path()


@pytest.mark.skipif(
    not hasattr(sqlite3.Connection, "enable_load_extension"), reason="this Python loads no extensions"
)
def test_both_paths_can_be_loaded_one_after_the_other() -> None:
    conn = sqlite3.connect(":memory:")
    try:
        conn.enable_load_extension(True)
        conn.load_extension(sqlite_vss.vector_loadable_path())
        conn.load_extension(sqlite_vss.vss_loadable_path())
        conn.execute("create virtual table t using vss0(a(2))")
        conn.execute("insert into t(rowid, a) values (7, '[1,2]')")
        [(rowid,)] = conn.execute("select rowid from t where vss_search(a, vss_search_params('[1,2]', 1))")
        assert rowid == 7
    finally:
        conn.close()


def test_a_bare_vector_needs_a_newer_sqlite_there_and_works_on_all_here(db: sqlite3.Connection) -> None:
    db.execute("create virtual table t using vss0(a(2))")
    db.execute("insert into t(rowid, a) values (1, '[1,2]'), (2, '[3,5]')")
    found = db.execute(
        "select rowid from t where vss_search(a, '[3,4]') order by distance limit 1"
    ).fetchall()
    assert found == [(2,)]
