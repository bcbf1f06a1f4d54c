"""The package's front: quick to import, every name there, functions where modules have the same name."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

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


def test_the_first_add_and_search_import_little() -> None:
    """numpy.ma, which numpy imports when it is first asked for, took longer than all of it; what only errors and URIs
    need took a third of it."""
    spared = ("numpy", "uuid", "ctypes", "urllib", "pathlib", "dataclasses", "shlex")
    code = (
        "import sys, numpy; before = set(sys.modules); import vssnative; index = vssnative.Index(vssnative.connect(':memory:'));"
        "index.add([1], numpy.ones((1, 4), 'f4')); index.search(numpy.ones(4, 'f4'));"
        f"print(sorted(n for n in set(sys.modules) - before if n.partition('.')[0] in {spared}))"
    )
    assert run(code) == "[]"


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


# A module without an underscore is for users: docs/api.md has a section of it.
PUBLIC_MODULES = ["vssnative"] + sorted(
    f"vssnative.{module.name}"
    for module in pkgutil.iter_modules(vssnative.__path__)
    if not module.name.startswith("_")
)


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_the_manual_lists_the_public_names(module: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
    section = re.split(r"(?m)^## ", text.partition(f"## `{module}`\n")[2])[0]
    assert section, f"docs/api.md has no section of {module}: document it, or give it an underscore"
    found = importlib.import_module(module)
    wanted = set(getattr(found, "__all__", ()))
    if not wanted and hasattr(found, "__path__"):
        names = (each.name for each in pkgutil.iter_modules(found.__path__))
        wanted = {name for name in names if not name.startswith("_")}
    assert set(re.findall(r"`(\w+)`", section)) == wanted
