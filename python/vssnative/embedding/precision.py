"""How exactly local models compute: one setting for the process, and what a digest says of it."""

from __future__ import annotations

import os

from ..errors import ConfigurationError

PRECISIONS = ("float32", "bfloat16")
_MARK = "+bfloat16"
_chosen: str | None = None


def default_precision() -> str:
    """What ``configure`` set, else ``VSSNATIVE_PRECISION``, else ``"float32"``.

    Raises:
        ConfigurationError: if the environment names no precision.
    """
    if _chosen is not None:
        return _chosen
    return checked_precision(os.environ.get("VSSNATIVE_PRECISION") or "float32", "VSSNATIVE_PRECISION")


def set_default_precision(precision: str) -> None:
    """Set what embedders made from now on use where they are not told.

    Raises:
        ConfigurationError: if it is no precision.
    """
    global _chosen
    _chosen = checked_precision(precision)


def checked_precision(precision: str, what: str = "precision") -> str:
    """The precision itself.

    Raises:
        ConfigurationError: if it is none.
    """
    if precision not in PRECISIONS:
        raise ConfigurationError(f'{what} must be "float32" or "bfloat16", not {precision!r}')
    return precision


def mark(digest: str, precision: str) -> str:
    """The digest of a model that computes with a precision: the model's own, with a mark behind it for bfloat16."""
    return digest + _MARK if precision == "bfloat16" else digest


def is_rounded(digest: str) -> bool:
    """Whether a digest's vectors were asked for in bfloat16."""
    return digest.endswith(_MARK)


def comparable(one: str, other: str) -> bool:
    """Whether vectors of two digests may be compared: those of one model, whatever its precision."""
    return one.removesuffix(_MARK) == other.removesuffix(_MARK)
