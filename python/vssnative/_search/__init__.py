"""Search of a table by meaning and by words."""

from __future__ import annotations

from .results import Result, Results
from .run import search, search_many

__all__ = ["Result", "Results", "search", "search_many"]
