"""What an optional package is for, and the extra that brings it: one place for what is said when it is missing."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import MissingDependencyError


def need(package: str, extra: str, purpose: str) -> Any:
    """Import a package that an extra of vssnative brings.

    Args:
        package: importable name, may be a submodule's.
        extra: the extra's name.
        purpose: what needs it, the beginning of a sentence in the plural, for example "embeddings on this machine".

    Raises:
        MissingDependencyError: if it is not installed; names the extra.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        top = package.partition(".")[0]
        raise MissingDependencyError(
            f"{purpose} need the package {top}: pip install 'vssnative[{extra}]'"
        ) from error
