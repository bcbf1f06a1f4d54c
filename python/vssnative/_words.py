"""Words that messages of all layers have in common."""

from __future__ import annotations


def counted(count: int, noun: str, verb: str = "") -> str:
    """``1 row``, ``2,000 rows``; with the verb for one, ``is``, ``has`` or ``was``: ``1 row is``, ``2,000 rows are``."""
    verb = verb if count == 1 else {"is": "are", "has": "have", "was": "were"}.get(verb, verb)
    return f"{count:,} {noun}{'' if count == 1 else 's'}{verb and ' '}{verb}"
