"""docs/sqlalchemy.md does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..documents import run_page


def test_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_page("sqlalchemy.md")
    assert capsys.readouterr().out.startswith("Sourdough ") and "Document" in names
