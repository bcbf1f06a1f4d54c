"""``vss_embed('text' [, of])``: the vector of a text as a SQL value, on connections where the user asked for it."""

from __future__ import annotations

from typing import Any

from .._connection import Connection, create_function
from ..embedding.protocol import Embedder
from ..embedding.simple import shared_embedder
from ..errors import QueryError
from .generations import first_name
from .models import embedder_for
from .records import EmbeddingConfig, Generation, load_embeddings
from .schema import installed_version


def register(conn: Connection) -> None:
    """Give a connection the SQL function. Texts are embedded as queries.

    The second value is the vss0 table whose vectors the answer is to be compared with, or the name of a model. Without
    it the model is that of the file's embeddings, where all are of one; else minilm.
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
        embedder = _embedder(load_embeddings(conn) if installed_version(conn) else [], of)
        return bytes(embedder.embed_queries([text])[0].astype("<f4").tobytes())

    create_function(conn, "vss_embed", vss_embed)


def _embedder(embeddings: list[EmbeddingConfig], of: str | None) -> Embedder:
    if of is not None:
        for generation in (one for embedding in embeddings for one in embedding.generations):
            if generation.vss_table is not None and generation.vss_table.lower() == of.lower():
                return embedder_for(generation)
        return shared_embedder(of)
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
