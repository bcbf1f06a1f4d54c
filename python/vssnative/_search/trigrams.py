"""Words of scripts that put no space between them (Chinese, Japanese, Thai, ...), and what FTS5's ``trigram`` can look for.

The tokenizer ``unicode61`` takes a whole sentence of such a script for one word. ``trigram`` knows parts of texts, of three
characters and more; shorter ones are looked for in every row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

# Hiragana and katakana, bopomofo, han with its extensions, Thai and Lao, Tibetan, Myanmar, Khmer, half-width katakana.
_UNSPACED = (
    "\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\U00020000-\U000323af"
)
_RUN = re.compile(f"[{_UNSPACED}]+")
_LEAST = 3
_TRIGRAM = re.compile(r"""tokenize\s*=\s*['"]?\s*trigram""", re.IGNORECASE)


class Parts(NamedTuple):
    """What to look for in a trigram index.

    Attributes:
        long: parts of three characters and more, which the index knows.
        short: shorter ones.
    """

    long: tuple[str, ...]
    short: tuple[str, ...]


def has_unspaced(text: str) -> bool:
    """Whether some of it is in a script without spaces between words."""
    return _RUN.search(text) is not None


def weight_of(texts: Sequence[str], parts: int) -> str:
    """SQL for what `parts` parts, ``?1`` and on in small letters, weigh in texts: as in BM25, a second time counts less than the
    first. 0 where none of them has any.

    Args:
        texts: SQL expressions.
    """
    small = [f"lower(coalesce({text}, ''))" for text in texts]
    times = [
        f"(length({text}) - length(replace({text}, ?{at}, ''))) * 1.0 / length(?{at})"
        for text in small
        for at in range(1, parts + 1)
    ]
    return " + ".join(f"2.2 * ({one}) / (({one}) + 1.2)" for one in times)


def is_trigram(declaration: str) -> bool:
    """Whether a ``CREATE VIRTUAL TABLE ... USING fts5`` names that tokenizer."""
    return _TRIGRAM.search(declaration) is not None


def parts_of(terms: Sequence[str]) -> Parts:
    """Words as parts: a run of such a script gives each three characters in a row, all else stays whole.

    Short words of other scripts ("of", "C") are in every other text: they count only where there is nothing else.
    """
    long: list[str] = []
    short: list[str] = []
    other: list[str] = []
    for term in terms:
        for run in _RUN.findall(term):
            if len(run) < _LEAST:
                short.append(run)
            long += [run[at : at + _LEAST] for at in range(len(run) - _LEAST + 1)]
        for rest in _RUN.split(term):
            (long if len(rest) >= _LEAST else other if rest.strip() else []).append(rest)
    if not long and not short:
        short = other
    return Parts(tuple(dict.fromkeys(long)), tuple(dict.fromkeys(short)))
