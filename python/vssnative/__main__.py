"""``python -m vssnative``: the command ``vssnative``."""

from __future__ import annotations

from .command import main

main()
