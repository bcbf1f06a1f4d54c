"""The code in the documents runs: all Python blocks of a page, one after the other, in a directory of their own.

Awaiting at the top level is allowed.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

from ..documents import blocks

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
    "cells.md": """
import numpy as np
import vssnative
index = vssnative.Index(vssnative.connect("docs.db"), "docs", "a")
index.add(np.arange(5_000), np.random.default_rng(0).standard_normal((5_000, 16), dtype=np.float32))
queries = np.eye(3, 16, dtype=np.float32)
""",
    "embedding.md": "texts = ['parse a date', 'delete a folder']",
    "faiss.md": """
import numpy as np
import vssnative
conn = vssnative.connect("docs.db")
matrix = np.random.default_rng(0).standard_normal((500, 32), dtype=np.float32)
vssnative.Index(conn, "docs", "a", factory="IVF256,SQ8", metric="cosine").add(np.arange(len(matrix)), matrix)
conn.commit()
queries = matrix[:3]
""",
    "frames.md": "",
    "datasette.md": "",
    "langchain.md": "",
    "llamaindex.md": "",
    "llm.md": "",
    "sqlite-utils.md": "",
}


@pytest.mark.parametrize("page", PAGES)
async def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    codes = blocks(page)
    assert codes
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(PAGES[page], names)
    for code in codes:
        result = eval(compile(code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.iscoroutine(result):
            await result
