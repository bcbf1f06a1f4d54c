"""The package's front: quick to import, every name there, functions where modules have the same name."""

from __future__ import annotations

import importlib
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


@pytest.mark.parametrize("name", ["search", "sync", "embed", "status"])
def test_a_function_is_no_module(name: str) -> None:
    assert callable(getattr(vssnative, name))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"vssnative.{name}")


def test_what_the_readme_and_manuals_use_is_at_the_top() -> None:
    wanted = {"Results", "Result", "Settings", "Status", "dead_letters", "retry_dead", "pause", "resume"}
    assert wanted <= set(vssnative.__all__)
