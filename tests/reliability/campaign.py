"""How long the reliability tests run: short within the test suite, long in a campaign (``make campaign``).

``VSSNATIVE_CAMPAIGN=1`` asks for the long form, ``VSSNATIVE_SEED`` fixes the random numbers of one run.
What a test counted (statements, faults, kills) goes to the file that ``VSSNATIVE_COUNTS`` names, one JSON
object a line; docs/measurements/reliability.md shows the sums.
"""

from __future__ import annotations

import json
import os
import secrets

IS_LONG = os.environ.get("VSSNATIVE_CAMPAIGN", "") not in ("", "0")


def scaled(short: int, long: int) -> int:
    return long if IS_LONG else short


def seed() -> int:
    """The given one, or a new one each run; tests put it into their messages."""
    given = os.environ.get("VSSNATIVE_SEED")
    return int(given) if given else secrets.randbits(32)


def count(test: str, **counts: int | str) -> None:
    path = os.environ.get("VSSNATIVE_COUNTS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"test": test, **counts}) + "\n")
