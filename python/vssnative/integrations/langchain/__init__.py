"""LangChain: a vector store in a SQLite file, a retriever over tables with embeddings, embeddings, a record manager.

store = VssVectorStore("notes.db", OpenAIEmbeddings(), table="notes")
store.add_texts(["first", "second"], metadatas=[{"kind": "a"}, {"kind": "b"}])
store.similarity_search("something", k=4, filter={"kind": "a"})
"""

from __future__ import annotations

from ..._extras import need

need("langchain_core", "langchain", "stores for LangChain")

from .embeddings import VssEmbeddings
from .records import VssRecordManager
from .retriever import VssRetriever
from .store import VssVectorStore

__all__ = ["VssEmbeddings", "VssRecordManager", "VssRetriever", "VssVectorStore"]
