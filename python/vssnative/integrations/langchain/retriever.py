"""A LangChain retriever over a table of the user's that has embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, PrivateAttr

from ..._catalog.records import load_embedding
from ..._connection import Connection
from ..._search import search
from .._access import Access


class VssRetriever(BaseRetriever):
    """Documents from the rows of a table that ``add_embeddings`` gave embeddings, as ``vssnative.search`` finds them.

    The text of a document is that of its embedded columns, a line each; its id the row's key; its metadata the other
    columns, and ``score`` and ``distance`` under those names where no column has them; ``stale`` where the row has changed since
    its vectors were made.

    Attributes:
        source: a path, a ``Pool``, or a connection (of this thread's; an asynchronous one for ``ainvoke``).
        table: the embeddings' name, or their table's.
        k: how many documents.
        content: columns that make the text, instead of the embedded ones.
        search_options: what else ``vssnative.search`` takes: ``where``, ``params``, ``mode``, ``columns``, ...
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: Any = Field(exclude=True, repr=False)
    table: str
    k: int = 4
    content: Sequence[str] | None = None
    search_options: dict[str, Any] = Field(default_factory=dict)
    _access: Access = PrivateAttr()

    def model_post_init(self, _context: Any, /) -> None:
        """Open the path, where one was given.

        Raises:
            ConnectionSetupError: there is no such file.
        """
        self._access = Access(self.source, must_exist=True)

    def close(self) -> None:
        """Close the pool that was made for a path."""
        self._access.close()

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return self._access.call(lambda conn: self._find(conn, query, options))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return await self._access.acall(lambda conn: self._find(conn, query, options))

    def _find(self, conn: Connection, query: str, options: dict[str, Any]) -> list[Document]:
        wanted = {"k": self.k, **self.search_options, **options}
        found = search(conn, self.table, query, **wanted)
        columns = self.content
        if columns is None:
            fields = load_embedding(conn, self.table).active.fields
            columns = tuple(dict.fromkeys(column for field in fields for column in field.columns))
        documents = []
        for result in found:
            text = [result.row[column] for column in columns if result.row.get(column) is not None]
            metadata = {"distance": result["distance"], "score": result.score}
            if result.stale:
                metadata["stale"] = True
            metadata |= {name: value for name, value in result.row.items() if name not in columns}
            key = result.key
            documents.append(
                Document(
                    id="/".join(map(str, key)) if isinstance(key, tuple) else str(key),
                    page_content="\n".join(map(str, text)),
                    metadata=metadata,
                )
            )
        return documents
