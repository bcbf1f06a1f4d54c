"""The Python code of a page of docs/, run from top to bottom as a reader would.

A block after the comment ``<!-- not run -->`` is left out: it needs a server, a key, or another program.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).parent.parent / "docs"
_BLOCK = re.compile(r"(<!-- not run -->\s*)?^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[str]:
    """The Python blocks of a page, each with empty lines before it, so that errors name the page's own lines."""
    text = (_DOCS / page).read_text()
    run = [found for found in _BLOCK.finditer(text) if not found[1]]
    return ["\n" * text.count("\n", 0, found.start(2)) + found[2] for found in run]


def run_page(page: str) -> dict[str, Any]:
    """Run all of them in one module; what they leave behind."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        exec(compile(block, str(_DOCS / page), "exec", dont_inherit=True), names)
    return names
