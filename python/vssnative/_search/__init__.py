"""Search of a table by meaning and by words."""

from __future__ import annotations

from .run import Result, Results, search

__all__ = ["Result", "Results", "search"]
