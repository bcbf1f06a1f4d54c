"""Search of a table by meaning and by words."""

from __future__ import annotations

from .ahead import embed_ahead
from .results import Result, Results
from .run import search, search_many

__all__ = ["Result", "Results", "embed_ahead", "search", "search_many"]
