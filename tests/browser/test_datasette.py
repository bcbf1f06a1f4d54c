"""The Datasette pages in a real browser: type, see results, filter, follow "similar". `make browser` installs what it needs.

With VSSNATIVE_SCREENSHOTS=DIRECTORY it also leaves pictures there: light, dark, and a narrow window.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vssnative

sync_api = pytest.importorskip("playwright.sync_api", reason="make browser installs playwright")

PAGE = "/library/posts/-/vss"
POSTS = [
    ("shutil.rmtree", "Recursively delete a directory tree.", "shutil"),
    ("shutil.copytree", "Recursively copy a directory tree.", "shutil"),
    ("pathlib.Path.rmdir", "Remove this directory. It must be empty.", "pathlib"),
    ("pathlib.Path.mkdir", "Create a new directory at this path.", "pathlib"),
    ("json.loads", "Deserialize a document to a Python object.", "json"),
    ("json.dumps", "Serialize an object to a formatted text.", "json"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("site") / "library.db"
    with contextlib.closing(vssnative.connect(path)) as conn:
        conn.execute("create table posts(id integer primary key, title text, summary text, module text)")
        conn.executemany("insert into posts(title, summary, module) values (?, ?, ?)", POSTS)
        conn.commit()
        vssnative.add_embeddings(conn, "posts", ["title", "summary"], full_text=True)
        vssnative.sync(conn)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "datasette", "serve", str(path), "-p", str(port)])
    root = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(root).close()
                break
            time.sleep(0.1)
        yield root
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    where = shutil.which("chromium")
    if where is None:
        pytest.skip("make browser installs chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=where, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark", "narrow"])
def page(request: pytest.FixtureRequest, chromium: Any) -> Iterator[Any]:
    narrow = request.param == "narrow"
    context = chromium.new_context(
        viewport={"width": 390, "height": 844} if narrow else {"width": 1100, "height": 900},
        color_scheme="dark" if request.param == "dark" else "light",
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.look = request.param
    yield page
    context.close()
    assert errors == []


def picture(page: Any, name: str) -> None:
    folder = os.environ.get("VSSNATIVE_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"datasette-{page.look}-{name}.png")


def headings(page: Any) -> list[str]:
    return [str(text) for text in page.locator(".vss-hit h3").all_inner_texts()]


def brightness(page: Any, what: str, prop: str) -> float:
    """From 0, black, to 255, of a colour as the browser computes it."""
    colour = page.evaluate(f"getComputedStyle(document.querySelector({what!r})).{prop}")
    numbers = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(numbers) / 3


def test_type_see_results_filter_and_follow_similar(page: Any, site: str) -> None:
    page.goto(site + PAGE)
    # The cursor is in the box already.
    page.wait_for_function("document.activeElement.name == '_q'")
    page.keyboard.type("delete a folder and all that is in it")
    page.keyboard.press("Enter")
    page.wait_for_selector(".vss-hit")
    assert headings(page)[0] == "shutil.rmtree"
    assert page.locator("mark").first.inner_text().lower() == "delete"
    assert "6 rows, all embedded by minilm" in page.locator(".vss-status").inner_text()
    picture(page, "results")

    page.locator(".vss-facet a", has_text="pathlib").click()
    page.wait_for_selector(".vss-facet .vss-selected")
    assert set(headings(page)) == {"pathlib.Path.rmdir", "pathlib.Path.mkdir"}
    assert page.locator("input[name=_q]").input_value() == "delete a folder and all that is in it"
    page.locator(".vss-facet .cross").click()
    page.wait_for_function("document.querySelectorAll('.vss-hit').length == 6")

    page.locator(".vss-hit", has_text="shutil.rmtree").locator(".vss-similar").click()
    page.wait_for_selector("h2 a")
    assert page.locator("h2.vss-answer").inner_text() == "Rows like shutil.rmtree"
    assert headings(page)[0] == "shutil.copytree"
    picture(page, "similar")

    page.locator(".vss-hit h3 a").first.click()
    page.wait_for_url("**/library/posts/2")


def test_nothing_is_wider_than_the_window_and_all_can_be_read(page: Any, site: str) -> None:
    page.goto(f"{site}{PAGE}?_q=directory")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]
    background, text = brightness(page, "body", "backgroundColor"), brightness(page, ".vss-snippet", "color")
    assert (background < 60 and text > 180) if page.look == "dark" else (background > 230 and text < 60)
    assert abs(brightness(page, ".vss-facts", "color") - background) > 100


def test_the_tables_own_page_leads_there(page: Any, site: str) -> None:
    page.goto(f"{site}/library/posts")
    page.locator(".actions-menu-links summary").click()
    page.get_by_text("Search by meaning").click()
    page.wait_for_url(f"**{PAGE}")
    page.select_option("select[name=_mode]", "text")
    page.fill("input[name=_q]", "object")
    page.locator("input[type=submit]").click()
    page.wait_for_selector(".vss-hit")
    assert set(headings(page)) == {"json.loads", "json.dumps"}


def test_an_error_is_a_sentence(page: Any, site: str) -> None:
    page.goto(f"{site}{PAGE}?_similar=99")
    assert "no row" in page.locator(".message-error").inner_text()
    picture(page, "error")
