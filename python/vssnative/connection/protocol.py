"""What a connection is to the rest of the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

Connection: TypeAlias = Any
"""A connection of any supported driver. They share no base class, so there is no narrower type."""

Parameters: TypeAlias = Sequence[Any] | dict[str, Any]
