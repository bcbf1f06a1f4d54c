"""Links between the documents lead somewhere, and so do the names of documents in code and comments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
FOLDERS = ("python", "src", "vendor", "tests", "benchmarks", "tools", "cmake", "examples")
SUFFIXES = {".py", ".cpp", ".h", ".sh", ".cmake", ".txt", ".md"}

LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"\b(?:docs/[\w./-]+|README|ARCHITECTURE|FORMAT|CHANGELOG)\.md\b")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """What a link may name behind the ``#``, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_document_lead_somewhere(document: Path) -> None:
    wrong = []
    for link in LINK.findall(FENCE.sub("", document.read_text("utf-8"))):
        name, _, anchor = link.partition("#")
        if ":" in name:
            continue
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_documents_named_in_text_and_code_exist() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*DOCUMENTS, *files]
        for name in NAMED.findall(path.read_text("utf-8"))
        if not (ROOT / name).exists()
    }
    assert wrong == set()
