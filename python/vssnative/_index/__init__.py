"""Vectors in numpy, in and out of a vss0 table; settings of the process."""

from __future__ import annotations

from .builds import watch_builds
from .checks import Distances, Ids, are_found
from .index import Index
from .settings import configure

__all__ = ["Distances", "Ids", "Index", "are_found", "configure", "watch_builds"]
