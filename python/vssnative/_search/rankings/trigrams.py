"""Words of scripts that put no space between them (Chinese, Japanese, Thai, ...), and what FTS5's ``trigram`` can look for.

The tokenizer ``unicode61`` takes a whole sentence of such a script for one word. ``trigram`` knows parts of texts, of three
characters and more; shorter ones are looked for in every row.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Hiragana and katakana, bopomofo, han with its extensions, Thai and Lao, Tibetan, Myanmar, Khmer, half-width katakana.
_UNSPACED = (
    "\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\U00020000-\U000323af"
)
_RUN = re.compile(f"[{_UNSPACED}]+")
_KOREAN = re.compile("[\u1100-\u11ff\uac00-\ud7a3]")
_LEAST = 3
_MOST_TERMS = 200
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
    """SQL for what `parts` parts, ``?1`` and on, as ``spellings_of`` gives them, weigh in texts: as in BM25, a second time counts
    less than the first. 0 where none of them has any.

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


def spellings_of(parts: Sequence[str], texts: int) -> Iterator[list[str]]:
    """Short parts in each case that their letters may have in a text, of which SQL's ``lower`` knows ASCII alone; in portions, as
    SQLite takes no sum of 1,000 terms.

    Args:
        texts: how many texts they are looked for in at once.
    """
    spelt = ("".join(letters) for part in parts for letters in itertools.product(*map(_cases_of, part)))
    left = list(dict.fromkeys(spelt))
    size = max(1, _MOST_TERMS // max(1, texts))
    for start in range(0, len(left), size):
        yield left[start : start + size]


def _cases_of(letter: str) -> tuple[str, ...]:
    if letter.isascii():
        return (letter.lower(),)
    return tuple(dict.fromkeys(one for one in (letter, letter.lower(), letter.upper()) if len(one) == 1))


def is_trigram(declaration: str) -> bool:
    """Whether a ``CREATE VIRTUAL TABLE ... USING fts5`` names that tokenizer."""
    return _TRIGRAM.search(declaration) is not None


def parts_of(terms: Sequence[str]) -> Parts:
    """Words as parts: a run of such a script gives each three characters in a row, all else stays whole.

    Short words of other scripts ("of", "C") are in every other text: they count only where there is nothing else. But of
    two Korean syllables are most words of that language.
    """
    long: list[str] = []
    short: list[str] = []
    other: list[str] = []
    for term in terms:
        for run in _RUN.findall(term):
            if len(run) < _LEAST:
                short.append(run)
            long += [run[at : at + _LEAST] for at in range(len(run) - _LEAST + 1)]
        for rest in filter(str.strip, _RUN.split(term)):
            # As composed: an accent, or a Korean letter, may be a character of its own (NFD).
            is_long = len(unicodedata.normalize("NFC", rest)) >= _LEAST
            (long if is_long else short if _KOREAN.search(rest) else other).append(rest)
    if not long and not short:
        short = other
    return Parts(tuple(dict.fromkeys(long)), tuple(dict.fromkeys(short)))
