"""Vectors in numpy, in and out of a vss0 table; settings of the process."""

from __future__ import annotations

from .builds import watch_builds
from .checks import Distances, Ids
from .index import Index
from .settings import configure

__all__ = ["Distances", "Ids", "Index", "configure", "watch_builds"]
