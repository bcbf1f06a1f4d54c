"""LangChain's own standard suite for vector stores, synchronous and asynchronous, over each thing a store can stand on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

import vssnative
from vssnative.integrations.langchain import VssVectorStore


class TestFile(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:  # type: ignore[override]
        store = VssVectorStore(tmp_path / "a.db", self.get_embeddings())
        yield store
        store.close()


class TestMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:  # type: ignore[override]
        with vssnative.Pool(":memory:") as pool:
            yield VssVectorStore(pool, self.get_embeddings())


class TestConnection(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, db: sqlite3.Connection) -> VectorStore:  # type: ignore[override]
        return VssVectorStore(db, self.get_embeddings())
