"""Warnings about answers that are less than they seem."""

from __future__ import annotations

import sys
import warnings

from .._advice import Advice, command
from .._catalog.records import EmbeddingConfig
from .._words import counted
from ..errors import VssWarning
from .rankings.full_text import Words
from .results import Results


def warn_unwatched(embedding: EmbeddingConfig) -> None:
    """The table's triggers are gone, so that nobody noted what happened to its rows."""
    _warn(
        VssWarning(
            f"search of {embedding.name}: table {embedding.source} has lost its triggers, as it was dropped and made again, so"
            " vectors may be those of earlier rows",
            advice=Advice(
                "vssnative.sync(conn) puts the triggers back and compares all rows",
                f"{command('sync')} puts the triggers back and compares all rows",
            ),
        )
    )


def warn_unready(embedding: EmbeddingConfig, results: Results) -> None:
    """Nothing was found, and nothing is embedded yet."""
    _warn(
        VssWarning(
            f"search of {embedding.name} found nothing, and {counted(results.pending, 'row', 'is')} waiting for"
            f" {'its' if results.pending == 1 else 'their'} vectors",
            advice=Advice("vssnative.sync(conn) embeds them", f"{command('sync')} embeds them"),
        )
    )


def warn_behind(embedding: EmbeddingConfig, words: Words) -> None:
    """An FTS5 table of the user's lacks rows."""
    _warn(
        VssWarning(
            f"search of {embedding.name}: the FTS5 table {words.table} lacks the newest rows, so they are found by"
            " vectors alone",
            advice=Advice(
                "triggers of its own keep such a table in step, or add_embeddings(full_text=True)",
                "triggers of its own keep such a table in step, or add-embeddings with --full-text",
            ),
        )
    )


def warn_unspaced(embedding: EmbeddingConfig, words: Words) -> None:
    """Words of a script without spaces were looked for in a table that cannot know them."""
    again = (
        f"add_embeddings({embedding.source!r}, ..., full_text='trigram') rebuilds it"
        if words.own
        else "an FTS5 table with tokenize='trigram' does"
    )
    _warn(
        VssWarning(
            f"search of {embedding.name}: {words.table} has none of the query's words, as its tokenizer takes a sentence"
            f" without spaces for one word; {again}, and finds parts of such texts"
        )
    )


def _warn(warning: VssWarning) -> None:
    warnings.warn(warning, stacklevel=_callers_level())


def _callers_level() -> int:
    """The ``stacklevel`` that names the caller's line, however many functions of libraries lie between."""
    level, frame = 1, sys._getframe(1)
    libraries = ("vssnative", "django", "sqlalchemy")
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in libraries:
        level, frame = level + 1, frame.f_back
    return level
