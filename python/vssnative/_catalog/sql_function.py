"""``vss_embed('text' [, of])``: the vector of a text as a SQL value, on connections where the user asked for it."""

from __future__ import annotations

from typing import Any

from .._connection import Connection, create_function, execute
from .._sql import quote_text
from ..embedding._locks import ForkSafeLock
from ..embedding.precision import comparable
from ..embedding.protocol import Embedder
from ..embedding.simple import shared_embedder
from ..errors import QueryError
from .generations import first_name
from .models import embedder_for
from .records import EmbeddingConfig, Generation, load_embeddings
from .schema import installed_version

# Digest of a model to the number by which vss0 knows it.
_numbers: dict[str, int] = {}
_numbers_lock = ForkSafeLock()


def register(conn: Connection) -> None:
    """Give a connection the SQL function. Texts are embedded as queries.

    The second value is the vss0 table whose vectors the answer is to be compared with, or the name of a model. Without
    it the model is that of the file's embeddings, where all are of one; else minilm.

    vss0 is told which model made each vector. A search that is given one asks ``vssnative_embed_fits`` whether it can be
    compared with the table's: however it came there, by a ``?`` too, except changed.
    """

    def vss_embed(*arguments: Any) -> bytes | None:
        if len(arguments) not in (1, 2):
            raise QueryError(
                f"vss_embed: expected a text, and perhaps a vss0 table or a model, got {len(arguments)} values"
            )
        text, of = arguments[0], arguments[1] if len(arguments) == 2 else None
        if text is None:
            return None
        if not isinstance(text, str) or not (of is None or isinstance(of, str)):
            raise QueryError(f"vss_embed: expected texts, got {type(text).__name__}, {type(of).__name__}")
        embedder = _embedder(load_embeddings(conn, to_read=True), of)
        vector = bytes(embedder.embed_queries([text])[0].astype("<f4").tobytes())
        execute(conn, "select vss_note_model(?, ?)", (vector, _number_of(embedder.digest)))
        return vector

    def fits(number: int, schema: str, table: str) -> str | None:
        return _refusal(conn, number, schema, table)

    create_function(conn, "vss_embed", vss_embed)
    create_function(conn, "vssnative_embed_fits", fits)


def _number_of(digest: str) -> int:
    with _numbers_lock:
        return _numbers.setdefault(digest, len(_numbers))


def _refusal(conn: Connection, number: int, schema: str, table: str) -> str | None:
    """Why a vector by the model of that number cannot be compared with a table's; None where it can, or nobody knows."""
    digest = next((digest for digest, known in list(_numbers.items()) if known == number), None)
    if digest is None or schema.lower() != "main" or not installed_version(conn, to_read=True):
        return None
    generation = _generation_in(load_embeddings(conn, to_read=True), table)
    if generation is None or comparable(digest, generation.model_digest):
        return None
    return (
        f'table "{table}": its vectors were made by model {generation.model_name}, and vss_embed made this one by'
        f" another: they cannot be compared; write vss_embed(text, {quote_text(table)})"
    )


def _generation_in(embeddings: list[EmbeddingConfig], table: str) -> Generation | None:
    """The one whose vectors are in a vss0 table of that name."""
    for generation in (one for embedding in embeddings for one in embedding.generations):
        if generation.vss_table is not None and generation.vss_table.lower() == table.lower():
            return generation
    return None


def _embedder(embeddings: list[EmbeddingConfig], of: str | None) -> Embedder:
    if of is not None:
        generation = _generation_in(embeddings, of)
        return shared_embedder(of) if generation is None else embedder_for(generation)
    for embedding in embeddings:
        # Earlier versions left the first name to the old vectors when a change of model switched.
        first, in_use = first_name(embedding), embedding.active.vss_table
        if first != in_use:
            raise QueryError(
                f"vss_embed: the table {first} holds vectors that {embedding.name} no longer uses, those in use are in"
                f" {in_use}; vssnative.migrations.drop_retired(conn, {embedding.name!r}) puts them under the first"
                f" name, or name the table: vss_embed(text, '{in_use}')"
            )
    active: dict[str, Generation] = {one.active.model_digest: one.active for one in embeddings}
    if len(active) > 1:
        names = ", ".join(sorted(one.model_name for one in active.values()))
        table = next((one.vss_table for one in active.values() if one.vss_table is not None), "vss_posts")
        raise QueryError(
            f"vss_embed: the file has embeddings of several models ({names}); name the table that is searched,"
            f" vss_embed(text, '{table}'), or a model"
        )
    return embedder_for(next(iter(active.values()))) if active else shared_embedder("minilm")
