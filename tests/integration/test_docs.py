"""The code in the documents runs: all Python blocks of a page, one after the other, in a directory of their own.

Awaiting at the top level is allowed. A block after the comment ``<!-- not run -->`` is left out: it needs a server, a key, or
another program.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
# Pages, and what their reader has already.
PAGES = {
    "connections.md": """
import numpy as np
import vssnative
ids, matrix = [1, 2], np.eye(2, 8, dtype=np.float32)
with vssnative.Pool("blog.db") as pool, pool.transaction() as conn:
    conn.execute("create table posts(id integer primary key, title text)")
    conn.execute("insert into posts(title) values ('vectors in a file')")
    vssnative.add_embeddings(conn, "posts", ["title"])
with vssnative.Pool("blog.db") as pool, pool.connection() as conn:
    vssnative.sync(conn)
def function(conn):
    return conn.execute("update posts set title = title").rowcount
""",
    "frames.md": "",
    "datasette.md": "",
    "langchain.md": "",
    "llamaindex.md": "",
    "llm.md": "",
    "sqlite-utils.md": "",
}
_BLOCK = re.compile(r"(?P<skip><!-- not run -->\s*)?^```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
async def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    text = (DOCS / page).read_text()
    blocks = [found for found in _BLOCK.finditer(text) if not found["skip"]]
    assert blocks
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(PAGES[page], names)
    for block in blocks:
        line = text[: block.start("code")].count("\n")
        code = compile(
            "\n" * line + block["code"], str(DOCS / page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result
