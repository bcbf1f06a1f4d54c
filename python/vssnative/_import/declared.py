"""Arguments of a ``create virtual table`` statement."""

from __future__ import annotations

import re


def arguments(sql: str, module: str) -> list[str]:
    """What stands between the parentheses behind ``using <module>``, split at commas."""
    match = re.search(
        rf"\busing\s+[\"'`\[]?{module}[\"'`\]]?\s*\((.*)\)\s*\Z", sql, re.IGNORECASE | re.DOTALL
    )
    if match is None:
        return []
    parts, depth, quote, now = [], 0, "", ""
    for character in match.group(1):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'`":
            quote = character
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        if character == "," and depth == 0 and not quote:
            parts.append(now.strip())
            now = ""
        else:
            now += character
    return [*parts, now.strip()] if now.strip() else parts


def unquoted(name: str) -> str:
    """A name without its quotes."""
    if len(name) > 1 and name[0] in "\"'`[" and name[-1] in "\"'`]":
        return name[1:-1].replace(name[-1] * 2, name[-1])
    return name
