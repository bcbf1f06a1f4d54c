"""The Datasette plugin: the search page and its JSON, facets, permissions, hidden tables, SQL that changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasette.app import Datasette
from datasette.plugins import pm

import vssnative
from vssnative.integrations import datasette as plugin

ROWS = [
    ("apple pie", "bake apples in a crust", "food"),
    ("pear cake", "stir pears into <b>dough</b>", "food"),
    ("oil change", "drain the oil & fill it up", "cars"),
    ("new tyres", "lift the car, turn the bolts", "cars"),
    ("wall paint", "", "home"),
]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    old = sys.modules.get("pkg_resources")
    if (
        old is not None
    ):  # by which Datasette 0.64 finds templates; it does not know how an editable install is loaded
        old.register_loader_type(type(plugin.__loader__), old.DefaultProvider)
    if pm.is_registered(plugin):
        yield
    else:  # where the package's entry points are not installed
        pm.register(plugin, "vssnative")
        yield
        pm.unregister(plugin)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "library.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute("create table posts(id integer primary key, title text, body text, topic text, n int)")
        conn.executemany("insert into posts(title, body, topic, n) values (?, ?, ?, 7)", ROWS)
        conn.execute("create table plain(id integer primary key, words text)")
        conn.execute("create table vss_user_notes(id integer primary key, words text)")
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["title", "body"], model="hash:64", full_text=True)
        vssnative.sync(conn)
    return path


class Site:
    """Datasette over a file; each call is a request."""

    def __init__(self, path: Path, **metadata: Any) -> None:
        self.datasette = Datasette([str(path)], metadata=metadata, settings={"sql_time_limit_ms": 5000})
        self.loop = asyncio.new_event_loop()

    def get(self, path: str, actor: str | None = None) -> Any:
        async def ask() -> Any:
            cookies = {}
            if actor is not None:
                cookies["ds_actor"] = self.datasette.sign({"a": {"id": actor}}, "actor")
            return await self.datasette.client.get(path, cookies=cookies)

        return self.loop.run_until_complete(ask())

    def json(self, path: str, **options: Any) -> Any:
        return json.loads(self.get(path, **options).text)

    def close(self) -> None:
        for db in self.datasette.databases.values():
            db.close()
        self.loop.close()


@pytest.fixture
def site(library: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def site_(path: Path = library, **metadata: Any) -> Site:
        made.append(Site(path, **metadata))
        return made[-1]

    yield site_
    for one in made:
        one.close()


PAGE = "/library/posts/-/vss"


def headings(html: str) -> list[str]:
    return re.findall(r'<h3><a href="[^"]*">([^<]*)</a></h3>', html)


def test_the_page_shows_rows_with_snippets_and_marks(site: Callable[..., Site]) -> None:
    answer = site().get(f"{PAGE}?_q=pears+dough")
    assert answer.status_code == 200
    assert headings(answer.text)[0] == "pear cake"
    assert "stir <mark>pears</mark> into &lt;b&gt;<mark>dough</mark>&lt;/b&gt;" in answer.text
    assert 'href="/library/posts/2"' in answer.text
    assert "5 rows," in answer.text and "all embedded" in answer.text and "by hash:64" in answer.text
    assert "topic: food" in answer.text


def test_without_a_query_there_is_the_form_alone(site: Callable[..., Site]) -> None:
    answer = site().get(PAGE)
    assert answer.status_code == 200
    assert 'name="_q"' in answer.text and headings(answer.text) == []
    assert site().json(f"{PAGE}.json")["rows"] == []


def test_what_was_asked_is_never_markup(site: Callable[..., Site]) -> None:
    for path in ("?_q=%3Cscript%3E", "?_similar=%3Cscript%3E", "?topic=%3Cscript%3E&_q=x"):
        assert (
            "<script>" not in site().get(PAGE + path).text.replace("<script>\n", "", 1).split("<section")[1]
        )


def test_json_has_rows_facets_and_status(site: Callable[..., Site]) -> None:
    found = site().json(f"{PAGE}.json?_q=oil&_size=2&_mode=text")
    assert found["ok"] and found["table"] == "posts" and found["pending"] == 0
    [row] = found["rows"]
    assert (row["key"], row["rank"], row["row"]["title"], row["text_rank"]) == (3, 1, "oil change", 1)
    assert {value["value"]: value["count"] for value in found["facets"]["topic"]} == {
        "cars": 2,
        "food": 2,
        "home": 1,
    }
    assert found["status"]["embedded"] == 5


def test_pages_follow_each_other(site: Callable[..., Site]) -> None:
    one = site()
    keys: list[int] = []
    url = f"{PAGE}.json?_q=apple&_mode=vector&_size=2"
    next_page = ""
    while next_page is not None:
        found = one.json(url + (f"&_next={next_page}" if next_page else ""))
        keys += [row["key"] for row in found["rows"]]
        next_page = found["next"]
    assert sorted(keys) == [1, 2, 3, 4, 5]
    assert "Next page" in one.get(f"{PAGE}?_q=apple&_mode=vector&_size=2").text


def test_facets_filter_and_can_be_taken_away(site: Callable[..., Site]) -> None:
    one = site()
    html = one.get(f"{PAGE}?_q=apple").text
    assert '<a href="/library/posts/-/vss?_q=apple&amp;topic=cars">cars</a> 2' in html
    html = one.get(f"{PAGE}?_q=apple&topic=cars").text
    assert set(headings(html)) == {"oil change", "new tyres"}
    assert "where topic = &#34;cars&#34;" in html
    assert re.search(r'cars &middot; 2 <a href="/library/posts/-/vss\?_q=apple" class="cross"', html)
    # Whatever the table's own page can filter by.
    assert headings(one.get(f"{PAGE}?_q=apple&title__contains=tyres").text) == ["new tyres"]
    assert headings(one.get(f"{PAGE}?_q=apple&n__gt=7").text) == []
    assert "message-error" in one.get(f"{PAGE}?_q=apple&colour=red").text
    named = site(databases={"library": {"tables": {"posts": {"facets": ["n"]}}}})
    assert list(named.json(f"{PAGE}.json?_q=apple")["facets"]) == ["n"]


def test_a_facet_of_a_later_page_leads_to_the_first(site: Callable[..., Site]) -> None:
    one = site()
    first = one.json(f"{PAGE}.json?_q=apple&_mode=vector&_size=2")
    for filters, expected in (("", "_q=apple&_size=2&topic=cars"), ("&topic=cars", "_q=apple&_size=2")):
        found = one.json(f"{PAGE}.json?_q=apple&_size=2&_next={first['next']}{filters}")
        [url] = [one["toggle_url"] for one in found["facets"]["topic"] if one["value"] == "cars"]
        assert url == f"{PAGE}.json?{expected}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("_size=0", "_size: expected a number of rows, 1 to 100, or max, got '0'"),
        ("_size=many", "got 'many'"),
        ("_mode=fuzzy", "_mode: expected one of vector, text, hybrid, got 'fuzzy'"),
        ("_embeddings=others", "_embeddings: expected one of posts, got 'others'"),
        ("_search=apple", "_search: the search page has no such filter"),
        ("_through=x", "_through: the search page"),
        ("n__above=3", "n__above: expected one of exact, not, "),
        ("_where=colour+is+null", "no such column: colour"),
    ],
)
def test_what_has_no_meaning_is_said(site: Callable[..., Site], arguments: str, message: str) -> None:
    """An argument that is left out without a word makes the answer that of another question."""
    one = site()
    answer = one.get(f"{PAGE}.json?_q=apple&{arguments}")
    body = json.loads(answer.text)
    assert answer.status_code == 400 and body["rows"] == [] and message in body["error"]
    assert one.get(f"{PAGE}?_q=apple&{arguments}").status_code == 400


def test_a_condition_in_sql_is_for_those_who_may_write_sql(site: Callable[..., Site]) -> None:
    url = f"{PAGE}.json?_q=apple&_mode=vector&_where=topic+=+'food'+--+sweet&_where=id+>+1"
    assert [row["key"] for row in site().json(url)["rows"]] == [2]
    other = site(databases={"library": {"allow_sql": {"id": "root"}}})
    assert other.get(url).status_code == 403
    assert [row["key"] for row in other.json(url, actor="root")["rows"]] == [2]
    assert len(site().json(f"{PAGE}.json?_q=apple&_mode=vector&_size=max")["rows"]) == 5


def test_similar_rows(site: Callable[..., Site]) -> None:
    one = site()
    html = one.get(f"{PAGE}?_q=oil").text
    assert 'class="vss-similar" href="/library/posts/-/vss?_similar=3"' in html
    html = one.get(f"{PAGE}?_similar=3").text
    assert 'Rows like <a href="/library/posts/3">oil change</a>' in html
    assert "oil change" not in headings(html) and len(headings(html)) == 4
    assert one.get(f"{PAGE}?_similar=99").status_code == 400
    assert one.json(f"{PAGE}.json?_similar=99")["error"].startswith("similar_to")


def test_rows_that_changed_are_told(site: Callable[..., Site], library: Path) -> None:
    with contextlib.closing(sqlite3.connect(library)) as conn:
        conn.execute("update posts set body = 'changed' where id = 3")
        conn.commit()
    html = site().get(f"{PAGE}?_q=oil").text
    assert "waits for sync" in html and "1 wait for sync" in html and "80.0 % embedded" in html


@pytest.mark.parametrize("path", ["/library/plain/-/vss", "/library/nothing/-/vss", "/none/posts/-/vss"])
def test_what_has_no_embeddings_is_not_found(site: Callable[..., Site], path: str) -> None:
    assert site().get(path).status_code == 404


def test_a_model_that_is_not_there_is_told(site: Callable[..., Site], library: Path) -> None:
    with contextlib.closing(sqlite3.connect(library)) as conn:
        conn.execute(
            'update vssnative_generations set model = \'{"kind": "hash", "dim": 8}\', model_digest = \'x\''
        )
        conn.commit()
    answer = site().get(f"{PAGE}?_q=oil&_mode=vector")
    assert answer.status_code == 503 and "The model cannot be used" in answer.text
    assert site().json(f"{PAGE}.json?_q=oil&_mode=text")["rows"][0]["key"] == 3


KEYS = {
    "text": (
        "id text primary key",
        "insert into notes(id, words) values (?, ?)",
        [("a/b,c", "red"), ("é ~", "sea")],
    ),
    "composite": (
        "p int, id text, primary key(p, id)",
        "insert into notes(p, id, words) values (1, ?, ?)",
        [("x,y", "red"), ("z", "sea")],
    ),
    "untyped": ("id primary key", "insert into notes(id, words) values (?, ?)", [(5, "red"), (6, "sea")]),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_kind(site: Callable[..., Site], tmp_path: Path, kind: str) -> None:
    key, sql, rows = KEYS[kind]
    columns, _, end = key.partition(", primary")
    path = tmp_path / "library.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute(f"create table notes({columns}, words text{', primary' + end if end else ''})")
        conn.executemany(sql, rows)
        conn.commit()
        vssnative.add_embeddings(conn, "notes", ["words"], model="hash:64")
        vssnative.sync(conn)
    one = site(path)
    html = one.get("/library/notes/-/vss?_q=sea").text
    assert headings(html)[0] == "sea"
    row = re.findall(r'<h3><a href="([^"]*)">', html)[0]
    if kind != "untyped":  # Datasette looks for the text 6 there
        assert one.get(row).status_code == 200
    similar = re.findall(r'class="vss-similar" href="([^"]*)"', html)[0].replace("&amp;", "&")
    assert headings(one.get(similar).text) == ["red"]


def test_names_that_need_encoding(site: Callable[..., Site], tmp_path: Path) -> None:
    path = tmp_path / "my library.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute('create table "a/b c"(id integer primary key, "_w ""x" text)')
        conn.execute("insert into \"a/b c\"(\"_w \"\"x\") values ('words'), ('words'), ('words'), ('others')")
        conn.commit()
        vssnative.add_embeddings(conn, "a/b c", ['_w "x'], model="hash:64")
        vssnative.sync(conn)
    one = site(path)
    actions = one.get("/my+library/a~2Fb+c")
    assert 'href="/my+library/a~2Fb+c/-/vss"' in actions.text
    found = one.get("/my+library/a~2Fb+c/-/vss?_q=others")
    assert found.status_code == 200 and headings(found.text)[0] == "others"


def test_inner_tables_are_hidden_and_ones_of_the_users_are_not(site: Callable[..., Site]) -> None:
    one = site()
    listed = {table["name"]: table["hidden"] for table in one.json("/library.json")["tables"]}
    assert {name for name, hidden in listed.items() if not hidden} == {"posts", "plain", "vss_user_notes"}
    assert sum(listed.values()) > 20


def test_tables_that_get_embeddings_while_it_serves(site: Callable[..., Site], library: Path) -> None:
    one = site()
    assert one.get("/library/plain/-/vss").status_code == 404
    with contextlib.closing(vssnative.connect(library)) as conn:
        vssnative.add_embeddings(conn, "plain", ["words"], model="hash:8")
        vssnative.sync(conn)
    assert one.get("/library/plain/-/vss?_q=x").status_code == 200
    assert "Search plain by meaning" in one.get("/library").text
    hidden = {table["name"] for table in one.json("/library.json")["tables"] if table["hidden"]}
    assert "vss_plain" in hidden


PRIVATE = {"databases": {"library": {"tables": {"posts": {"allow": {"id": "root"}}}}}}


def test_a_private_table_is_private_in_every_way(site: Callable[..., Site]) -> None:
    one = site(**PRIVATE)
    inner = [
        "vss_posts",
        "vss_text_posts",
        "vss_text_posts_content",
        "vssnative_queue",
        "vssnative_dead",
        "vss_posts_rows",
    ]
    for path in (f"{PAGE}?_q=oil", f"{PAGE}.json?_q=oil", *(f"/library/{name}" for name in inner)):
        assert one.get(path).status_code == 403, path
        assert one.get(path, actor="other").status_code == 403, path
        assert one.get(path, actor="root").status_code == 200, path
    assert "🔒" in one.get(PAGE, actor="root").text
    assert "by meaning" not in one.get("/library").text
    assert "Search posts by meaning" in one.get("/library", actor="root").text
    assert "vss_text_posts" not in one.get("/library.json").text


def test_the_action_vss_search_can_be_refused_where_the_table_is_seen(site: Callable[..., Site]) -> None:
    settings = {"plugins": {"vssnative": {"allow": {"id": ["root", "editor"]}}}}
    one = site(databases={"library": {"tables": {"posts": settings}}})
    assert one.get("/library/posts").status_code == 200
    assert one.get(f"{PAGE}?_q=oil").status_code == 403
    assert one.get(f"{PAGE}?_q=oil", actor="editor").status_code == 200
    assert "by meaning" not in one.get("/library/posts").text
    assert "Search by meaning" in one.get("/library/posts", actor="editor").text


def test_sql_can_embed_unless_it_is_switched_off(site: Callable[..., Site]) -> None:
    sql = "select+rowid+from+vss_posts+where+title_embedding+match+vss_embed('oil+change')+and+k+=+1"
    assert site().json(f"/library.json?sql={sql}&_shape=arrays")["rows"] == [[3]]
    one = site(plugins={"vssnative": {"embed": False}})
    assert "no such function: vss_embed" in one.json(f"/library.json?sql={sql}")["error"]


@pytest.mark.parametrize(
    "call",
    ["vss_optimize('vss_posts','title_embedding',0)", "vss_repair('vss_posts')", "vss_setting('threads',1)"],
)
def test_sql_changes_nothing(site: Callable[..., Site], library: Path, call: str) -> None:
    before = library.read_bytes()
    answer = site().json(f"/library.json?sql=select+{call}")
    assert not answer["ok"]
    assert library.read_bytes() == before


def test_the_page_writes_nothing_and_answers_get_alone(site: Callable[..., Site], library: Path) -> None:
    before = library.read_bytes()
    one = site()
    for path in ("", "?_q=oil", ".json?_similar=1"):
        one.get(PAGE + path)
    assert library.read_bytes() == before

    async def post() -> int:
        code: int = (await one.datasette.client.post(PAGE, data={"_q": "oil"})).status_code
        return code

    assert one.loop.run_until_complete(post()) in (403, 405)
