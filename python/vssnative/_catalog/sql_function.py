"""``vss_embed('text' [, model])``: the vector of a text as a SQL value, on connections where the user asked for it."""

from __future__ import annotations

from typing import Any

from .._connection import Connection, create_function
from ..embedding.protocol import Embedder
from ..embedding.simple import shared_embedder
from ..errors import QueryError
from .models import embedder_for
from .records import Generation, load_embeddings
from .schema import installed_version


def register(conn: Connection) -> None:
    """Give a connection the SQL function. Texts are embedded as queries.

    Without a model it is that of the file's embeddings, where all are of one; else minilm.
    """

    def vss_embed(*arguments: Any) -> bytes | None:
        if len(arguments) not in (1, 2):
            raise QueryError(f"vss_embed: expected a text, and perhaps a model, got {len(arguments)} values")
        text, model = arguments[0], arguments[1] if len(arguments) == 2 else None
        if text is None:
            return None
        if not isinstance(text, str) or not (model is None or isinstance(model, str)):
            raise QueryError(f"vss_embed: expected texts, got {type(text).__name__}, {type(model).__name__}")
        embedder = shared_embedder(model) if model is not None else _models_of_file(conn)
        return bytes(embedder.embed_queries([text])[0].astype("<f4").tobytes())

    create_function(conn, "vss_embed", vss_embed)


def _models_of_file(conn: Connection) -> Embedder:
    active: dict[str, Generation] = {}
    if installed_version(conn):
        active = {one.active.model_digest: one.active for one in load_embeddings(conn)}
    if len(active) > 1:
        names = ", ".join(sorted(one.model_name for one in active.values()))
        raise QueryError(
            f"vss_embed: the file has embeddings of several models ({names}); name one, vss_embed(text, model)"
        )
    return embedder_for(next(iter(active.values()))) if active else shared_embedder("minilm")
