"""``python -m vssnative``: the command ``vssnative``."""

from __future__ import annotations

from ._command import main

main()
