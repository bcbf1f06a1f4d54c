"""The package's front: quick to import, every name there, functions where modules have the same name."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vssnative


@pytest.mark.parametrize("name", vssnative.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(vssnative, name) is not None
    assert name in dir(vssnative)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vssnative.nothing  # type: ignore[attr-defined]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_importing_brings_nothing_heavy() -> None:
    heavy = [
        "numpy",
        "onnxruntime",
        "tokenizers",
        "rich",
        "typer",
        "sqlite3",
        "ctypes",
        "huggingface_hub",
        "httpx",
    ]
    assert run(f"import sys, vssnative; print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_connecting_brings_no_model() -> None:
    heavy = ["numpy", "onnxruntime", "tokenizers", "rich", "typer"]
    code = "import sys, vssnative; vssnative.connect(':memory:').close()"
    assert run(f"{code}; print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_subpackages_need_no_import_of_their_own() -> None:
    code = "import vssnative; print(callable(vssnative.embedding.get_embedder), callable(vssnative.migrations.switch))"
    assert run(code) == "True True"


@pytest.mark.parametrize("first", ["vssnative.search", "vssnative.sync", "vssnative"])
def test_search_and_sync_are_functions_whatever_was_imported_first(first: str) -> None:
    code = f"import {first}, vssnative; print(callable(vssnative.search), callable(vssnative.sync))"
    assert run(code) == "True True"
