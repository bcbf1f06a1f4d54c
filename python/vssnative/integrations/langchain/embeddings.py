"""The models of this package as LangChain's ``Embeddings``. (The other way needs no adapter: ``model=`` takes theirs.)"""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.embeddings import Embeddings

from ...embedding.simple import shared_embedder


class VssEmbeddings(Embeddings):
    """LangChain's interface to a model of this package.

    Args:
        model: whatever ``vssnative.embed`` takes: ``"minilm"``, ``"hf:owner/name"``, an embedder, ...
    """

    def __init__(self, model: Any = "minilm") -> None:
        self.embedder = shared_embedder(model)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text to be stored."""
        vectors: list[list[float]] = self.embedder.embed_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text to search for, with the model's own prompt for queries."""
        vector: list[float] = self.embedder.embed_queries([text])[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """``embed_documents`` in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """``embed_query`` in a thread."""
        return await asyncio.to_thread(self.embed_query, text)
